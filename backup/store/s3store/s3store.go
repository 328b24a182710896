package s3store

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/minio/minio-go/v7"

	"ordinal/backup/store"
)

const (
	mebi = 1 << 20
	// What S3 demands. See AmazonS3/latest/userguide/qfacts.
	minPartSize = 5 * mebi
	maxPartSize = 5 << 30
	maxParts    = 10_000

	defaultPartSize = 16 * mebi
	defaultParallel = 3
	defaultStall    = time.Minute
)

// Addressing is where a request names the bucket.
type Addressing int

// By its endpoint: AWS and others that are known to want it get the bucket in the host name, all others in the path.
const (
	AddressingAuto Addressing = iota
	AddressingPath
	AddressingHost
)

// Checksum is how a server is told what a body should be.
type Checksum int

// CRC-32C is ignored by servers that do not know it; the header Content-MD5 is older and more widely known, and costs more.
const (
	ChecksumCRC32C Checksum = iota
	ChecksumMD5
	ChecksumNone
)

// Options describe a place in a bucket. Only Bucket has to be given.
type Options struct {
	Bucket      string
	Prefix      string // of the names, without slashes at its ends; empty: the whole bucket
	Endpoint    string // https://host[:port], or http:// for a network that is trusted; empty: AWS
	Region      string // empty: asked for at AWS, us-east-1 elsewhere
	Addressing  Addressing
	Checksum    Checksum
	Credentials Credentials    // the zero value signs nothing
	RootCAs     *x509.CertPool // to check the server's certificate with; nil: those of the system

	PartSize int64          // bytes, 5 MiB to 5 GiB; 0 means 16 MiB. A Put of unknown size ends at 10 000 parts
	Parallel int            // parts in flight in one Put, which holds as many in memory; 0 means 3
	Stall    time.Duration  // how long a connection may be silent; 0 means 1 min
	Patience store.Patience // with a part of a Put; other methods are tried once, see store.Retry
}

// A Store keeps objects in a bucket.
type Store struct {
	core      minio.Core
	transport *http.Transport
	bucket    string
	prefix    string // empty, or with a slash at its end
	secure    bool   // bodies need not be signed: TLS keeps them
	checksum  Checksum
	partSize  int64
	parallel  int
	patience  store.Patience
	buffers   sync.Pool // of *[]byte with partSize bytes
}

var _ store.Store = (*Store)(nil)

// bucketName is what S3 allows, and a little more that compatible servers do.
var bucketName = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{1,61}[a-z0-9]$`)

// New returns the store. It opens no connection: a bucket that does not exist, or credentials that are not right, come from the first use.
func New(o Options) (*Store, error) {
	bad := func(format string, args ...any) (*Store, error) {
		return nil, fmt.Errorf("open store: "+format, args...)
	}
	if !bucketName.MatchString(o.Bucket) || strings.Contains(o.Bucket, "..") {
		return bad("%.80q is not the name of a bucket", o.Bucket)
	}
	if o.Prefix != "" {
		if err := store.CheckName(o.Prefix); err != nil {
			return bad("prefix: %w", err)
		}
		o.Prefix += "/"
	}
	host, secure := "s3.amazonaws.com", true
	if o.Endpoint != "" {
		u, err := url.Parse(o.Endpoint)
		if err != nil || u.Host == "" || u.User != nil || u.Scheme != "https" && u.Scheme != "http" || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" {
			return bad("the endpoint is not of the form https://host or https://host:port") // not shown: it may have a password in it
		}
		host, secure = u.Host, u.Scheme == "https"
		if o.Region == "" && !strings.HasSuffix(u.Hostname(), ".amazonaws.com") && !strings.HasSuffix(u.Hostname(), ".amazonaws.com.cn") {
			o.Region = "us-east-1"
		}
	}
	if o.PartSize == 0 {
		o.PartSize = defaultPartSize
	}
	if o.PartSize < minPartSize || o.PartSize > maxPartSize {
		return bad("part size %d is not between 5 MiB and 5 GiB", o.PartSize)
	}
	if o.Parallel <= 0 {
		o.Parallel = defaultParallel
	}
	if o.Stall <= 0 {
		o.Stall = defaultStall
	}
	transport := newTransport(o.Stall, o.RootCAs)
	client, err := minio.NewCore(host, &minio.Options{
		Creds:        o.Credentials.forClient(&http.Client{Transport: transport}),
		Secure:       secure,
		Region:       o.Region,
		Transport:    transport,
		BucketLookup: lookup(o.Addressing),
		MaxRetries:   1, // what is worth a retry is for us to say, and for how long
	})
	if err != nil {
		return bad("%v", plain(err))
	}
	s := &Store{
		core: *client, transport: transport, bucket: o.Bucket, prefix: o.Prefix, secure: secure,
		checksum: o.Checksum, partSize: o.PartSize, parallel: o.Parallel, patience: o.Patience,
	}
	s.buffers.New = func() any { return new(make([]byte, s.partSize)) }
	return s, nil
}

// Close gives up connections that are idle. The store can be used on.
func (s *Store) Close() { s.transport.CloseIdleConnections() }

// newTransport speaks HTTP/1.1: the stall watch sees the connection of one request, not that of many.
func newTransport(stall time.Duration, roots *x509.CertPool) *http.Transport {
	dialer := &net.Dialer{Timeout: 30 * time.Second, KeepAlive: 15 * time.Second}
	return &http.Transport{
		Proxy: http.ProxyFromEnvironment,
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			conn, err := dialer.DialContext(ctx, network, address)
			if err != nil {
				return nil, err
			}
			return &watched{conn, stall}, nil
		},
		TLSClientConfig:       &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:   15 * time.Second,
		ExpectContinueTimeout: 5 * time.Second,
		IdleConnTimeout:       30 * time.Second,
		MaxIdleConnsPerHost:   16,
		DisableCompression:    true, // bodies are what they are
		WriteBufferSize:       64 << 10,
		ReadBufferSize:        64 << 10,
	}
}

// watched is a connection that fails when no byte moves for a while, in whichever direction: an upload keeps the wait for its answer alive.
type watched struct {
	net.Conn
	stall time.Duration
}

func (c *watched) Read(p []byte) (int, error) {
	c.alive()
	n, err := c.Conn.Read(p)
	if n > 0 {
		c.alive() // for a writer that waits in another goroutine
	}
	return n, c.explain(err)
}

func (c *watched) Write(p []byte) (int, error) {
	c.alive()
	n, err := c.Conn.Write(p)
	if n > 0 {
		c.alive()
	}
	return n, c.explain(err)
}

func (c *watched) alive() { _ = c.SetDeadline(time.Now().Add(c.stall)) } // fails on a closed one, and then so does what follows

func (c *watched) explain(err error) error {
	var timeout net.Error
	if err != nil && errors.As(err, &timeout) && timeout.Timeout() {
		return &stalledError{c.stall}
	}
	return err
}

// stalledError is a timeout, so that net/http and crypto/tls take it for one.
type stalledError struct{ after time.Duration }

func (e *stalledError) Error() string   { return fmt.Sprintf("no byte moved for %v", e.after) }
func (e *stalledError) Timeout() bool   { return true }
func (e *stalledError) Temporary() bool { return true }

// lookup is what the client library calls it.
func lookup(a Addressing) minio.BucketLookupType {
	switch a {
	case AddressingPath:
		return minio.BucketLookupPath
	case AddressingHost:
		return minio.BucketLookupDNS
	}
	return minio.BucketLookupAuto
}
