// Package location turns a URL into the store that is there:
//
//	file:///backups/shop
//	s3://bucket/prefix?endpoint=https://host:port&region=…&path-style=true&ca-file=…&checksum=…
//
// A URL holds no credentials, so that it can be shown and logged; one that does is refused, and not repeated.
package location

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path"
	"slices"
	"strings"

	"ordinal/backup/store"
	"ordinal/backup/store/dirstore"
	"ordinal/backup/store/s3store"
)

// A Location is a URL that has been checked. It can be shown.
type Location struct {
	text   string
	dir    string // of file://
	bucket string // of s3://
	s3     s3store.Options
	caFile string
}

// An Error is a URL that is not one of a store. It contains nothing of the URL that could be a secret.
type Error struct{ Reason string }

func (e *Error) Error() string { return "store URL: " + e.Reason }

// Hint shows what such a URL looks like.
func (e *Error) Hint() string {
	return "write file:///path, or s3://bucket/prefix?endpoint=https://host; credentials come from the environment, a file or a role"
}

func bad(format string, args ...any) (Location, error) {
	return Location{}, &Error{fmt.Sprintf(format, args...)}
}

// Parse checks a URL. It looks at no file and opens no connection. Every error is an [*Error].
func Parse(raw string) (Location, error) {
	if raw == "" {
		return bad("it is empty")
	}
	u, err := url.Parse(raw)
	switch {
	case err != nil:
		return bad("it is not a URL") // url.Parse repeats what it does not like
	case u.User != nil:
		return bad("credentials do not belong into it")
	case u.Fragment != "" || u.Opaque != "":
		return bad("it is not of the form scheme://place")
	}
	switch u.Scheme {
	case "file":
		return parseFile(u)
	case "s3":
		return parseS3(u)
	case "":
		return bad("it has no scheme: file:// or s3://")
	}
	return bad("scheme %.20q is not file or s3", u.Scheme)
}

func parseFile(u *url.URL) (Location, error) {
	switch {
	case u.Host != "":
		return bad("file:// wants three slashes and an absolute path")
	case u.RawQuery != "":
		return bad("file:// has no parameters")
	case strings.ContainsRune(u.Path, 0) || path.Clean(u.Path) == "/":
		return bad("file:// wants a directory, and not the whole file system")
	}
	dir := path.Clean(u.Path)
	return Location{text: "file://" + (&url.URL{Path: dir}).EscapedPath(), dir: dir}, nil
}

// parameters are those of s3://, in the order in which they are shown.
var parameters = []string{"endpoint", "region", "path-style", "checksum", "ca-file"}

func parseS3(u *url.URL) (Location, error) {
	if u.Port() != "" || strings.Contains(u.Host, ":") {
		return bad("s3:// wants the name of a bucket; a server's address goes into endpoint=")
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return bad("its parameters are not well formed")
	}
	for name, values := range query {
		if !slices.Contains(parameters, name) {
			return bad("parameter %.40q is not one of %s", name, strings.Join(parameters, ", ")) // its value may be a secret
		}
		if len(values) != 1 || values[0] == "" {
			return bad("%s needs one value", name)
		}
	}
	l := Location{caFile: query.Get("ca-file"), s3: s3store.Options{
		Bucket: u.Host, Prefix: strings.Trim(u.Path, "/"), Endpoint: strings.TrimSuffix(query.Get("endpoint"), "/"), Region: query.Get("region"),
	}}
	switch query.Get("path-style") {
	case "":
	case "true":
		l.s3.Addressing = s3store.AddressingPath
	case "false":
		l.s3.Addressing = s3store.AddressingHost
	default:
		return bad("path-style is true or false")
	}
	switch query.Get("checksum") {
	case "", "crc32c":
	case "md5":
		l.s3.Checksum = s3store.ChecksumMD5
	case "none":
		l.s3.Checksum = s3store.ChecksumNone
	default:
		return bad("checksum is crc32c, md5 or none")
	}
	if l.caFile != "" && !path.IsAbs(l.caFile) {
		return bad("ca-file wants an absolute path")
	}
	if _, err := s3store.New(l.s3); err != nil {
		return bad("%s", strings.TrimPrefix(err.Error(), "open store: "))
	}
	l.bucket = l.s3.Bucket
	l.text = "s3://" + l.bucket
	if l.s3.Prefix != "" {
		l.text += "/" + l.s3.Prefix
	}
	separator := "?"
	for _, name := range parameters {
		if value := query.Get(name); value != "" {
			l.text += separator + name + "=" + strings.ReplaceAll(url.QueryEscape(value), "%2F", "/")
			separator = "&"
		}
	}
	return l, nil
}

// String returns the URL in its normal form. It contains no secret.
func (l Location) String() string { return l.text }

// Options are what a store needs that is not in its URL.
type Options struct {
	Getenv   func(string) string // for credentials of S3, see s3store.Standard; nil: requests are not signed
	Patience store.Patience      // with a store that is not available
	PartSize int64               // see s3store.Options; 0 means its own
	Parallel int                 // the same
}

// Open returns the store at a URL, wrapped in [store.Retry]. It reads ca-file and touches nothing else: whether the place is there, and whose it is,
// is for [store.Claim] or [store.Check]. Errors of the URL are an [*Error].
func Open(ctx context.Context, raw string, o Options) (store.Store, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	l, err := Parse(raw)
	if err != nil {
		return nil, err
	}
	return l.Open(o)
}

// Open is [Open] for a URL that has been checked.
func (l Location) Open(o Options) (store.Store, error) {
	if l.dir != "" {
		s, err := dirstore.New(l.dir)
		if err != nil {
			return nil, err
		}
		return store.Retry(s, o.Patience), nil
	}
	if l.bucket == "" {
		return nil, errors.New("open store: no location")
	}
	options := l.s3
	options.Patience, options.PartSize, options.Parallel = o.Patience, o.PartSize, o.Parallel
	if o.Getenv != nil {
		options.Credentials = s3store.Standard(o.Getenv)
	}
	if l.caFile != "" {
		pem, err := os.ReadFile(l.caFile)
		if err != nil {
			return nil, fmt.Errorf("open store: ca-file: %w", err)
		}
		options.RootCAs = x509.NewCertPool()
		if !options.RootCAs.AppendCertsFromPEM(pem) {
			return nil, &Error{fmt.Sprintf("ca-file %s has no certificate in PEM", l.caFile)}
		}
	}
	s, err := s3store.New(options)
	if err != nil {
		return nil, err
	}
	return store.Retry(s, o.Patience), nil
}
