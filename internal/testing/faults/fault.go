package faults

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// Kind is what happens.
type Kind int

// The kinds. "Both ends" are the client, who has connected, and the server.
const (
	// Reset ends the connection: both ends get a TCP reset. What is still on its way is lost with it.
	Reset Kind = iota + 1
	// Close ends the connection in good order (FIN), as a process that closes its socket: both ends read what is on its way, then the
	// end. An end that goes on to send gets a reset then.
	Close
	// LoseClient resets the client's end. The server never hears of it: nothing it sends is taken any more.
	LoseClient
	// LoseServer resets the server's end. The client never hears of it.
	LoseServer
	// Blackhole leaves both ends as they are, and nothing passes any more in either direction.
	Blackhole
	// Stall lets nothing pass in either direction for For. Ends that go away meanwhile are noticed after it.
	Stall
	// Slow lets Bytes bytes of the direction pass at Rate.
	Slow
	// Delay makes each of Bytes bytes of the direction arrive For later.
	Delay
	// Flip changes the Bits of the byte.
	Flip
)

// kinds are the names of the kinds, as they are printed.
var kinds = map[Kind]string{
	Reset: "reset", Close: "close", LoseClient: "lose-client", LoseServer: "lose-server", Blackhole: "blackhole", Stall: "stall",
	Slow: "slow", Delay: "delay", Flip: "flip",
}

func (k Kind) String() string {
	if name, ok := kinds[k]; ok {
		return name
	}
	return fmt.Sprintf("Kind(%d)", int(k))
}

// Ends reports whether nothing more passes on a connection after a fault of this kind.
func (k Kind) Ends() bool { return k >= Reset && k <= Blackhole }

// Direction is where bytes go.
type Direction int

// The directions.
const (
	ToClient Direction = iota
	ToServer
)

func (d Direction) String() string {
	if d == ToServer {
		return "to-server"
	}
	return "to-client"
}

// A Fault befalls one byte, once: it happens when that byte is about to pass, and what came before it has passed.
type Fault struct {
	Kind Kind
	// Conn is the connection, counted from 1 in the order of arrival. 0: whichever brings the byte.
	Conn int
	// Toward is where the byte goes.
	Toward Direction
	// At is the byte's number, from 0: of those of Conn in this direction, or of all connections together if Conn is 0.
	At int64
	// All makes it befall all open connections, not only the one that brings the byte: the network between two hosts is gone. A Stall
	// befalls those that begin meanwhile, too. A Flip befalls one byte in any case.
	All bool
	// For is how long a Stall or a Delay takes.
	For time.Duration
	// Rate of a Slow is in bytes per second.
	Rate int64
	// Bytes is how many bytes a Slow or a Delay covers.
	Bytes int64
	// Bits are those that a Flip changes.
	Bits byte
}

// String returns the fault in one word, such as stall(1s)@5242880, or reset#2@0:to-server,all.
func (f Fault) String() string {
	var b strings.Builder
	b.WriteString(f.Kind.String())
	switch f.Kind {
	case Stall:
		fmt.Fprintf(&b, "(%v)", f.For)
	case Delay:
		fmt.Fprintf(&b, "(%v,%dB)", f.For, f.Bytes)
	case Slow:
		fmt.Fprintf(&b, "(%dB/s,%dB)", f.Rate, f.Bytes)
	case Flip:
		fmt.Fprintf(&b, "(%#02x)", f.Bits)
	}
	if f.Conn != 0 {
		fmt.Fprintf(&b, "#%d", f.Conn)
	}
	fmt.Fprintf(&b, "@%d", f.At)
	if f.Toward == ToServer {
		b.WriteString(":to-server")
	}
	if f.All {
		b.WriteString(",all")
	}
	return b.String()
}

// longest is how long one fault may hold up a test.
const longest = 10 * time.Minute

// check says what makes no sense.
func (f Fault) check() error {
	var wrong string
	switch {
	case kinds[f.Kind] == "":
		wrong = "unknown kind"
	case f.At < 0 || f.Conn < 0:
		wrong = "At and Conn are counted upwards from 0"
	case f.Toward != ToClient && f.Toward != ToServer:
		wrong = "unknown direction"
	case (f.Kind == Stall || f.Kind == Delay) && (f.For <= 0 || f.For > longest):
		wrong = fmt.Sprintf("For is more than 0 and at most %v", longest)
	case (f.Kind == Slow || f.Kind == Delay) && f.Bytes <= 0:
		wrong = "Bytes says how many bytes it covers"
	case f.Kind == Slow && (f.Rate <= 0 || f.Bytes/f.Rate > int64(longest/time.Second)):
		wrong = fmt.Sprintf("Rate is more than 0, and Bytes pass within %v", longest)
	case f.Kind == Flip && f.Bits == 0:
		wrong = "Bits has none to change"
	default:
		return nil
	}
	return fmt.Errorf("fault %v: %s", f, wrong)
}

// A Schedule is the faults that a proxy is to make, in any order.
type Schedule []Fault

// String returns the faults in one line.
func (s Schedule) String() string {
	words := make([]string, len(s))
	for i, f := range s {
		words[i] = f.String()
	}
	return strings.Join(words, " ")
}

func (s Schedule) check() error {
	var wrong []error
	for _, f := range s {
		wrong = append(wrong, f.check())
	}
	return errors.Join(wrong...)
}
