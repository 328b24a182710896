// Package coalesce collects the small writes of a connection into large ones.
//
// crypto/tls makes one write of every record, 16 KiB at most: a copy of a data directory through it is 65 000 system calls for each GB, and
// as many on the other side, which is woken for each. A [Listener] below TLS hands out connections that gather such writes while somebody asks for
// it, and are nothing but the connection below otherwise:
//
//	server := &http.Server{ConnContext: coalesce.ConnContext, …}
//	server.ServeTLS(coalesce.Listener(listener), "", "")
//
//	func(w http.ResponseWriter, r *http.Request) {
//		conn := coalesce.FromContext(r.Context()) // nil is a fine *Conn that does nothing
//		conn.SetCoalescing(true)
//		defer conn.SetCoalescing(false)
//
// Nothing gets stuck: what is gathered goes out when the buffer is full, on Flush, when the connection is read or closed, and in any case two
// milliseconds later.
//
// There is nothing for the reading side, where a larger buffer below TLS costs as much as it saves.
package coalesce
