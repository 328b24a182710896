package s3store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/minio/minio-go/v7/pkg/credentials"
)

// Credentials sign requests. They do not show themselves; the zero Credentials sign nothing.
type Credentials struct {
	// A function, because fmt would print the fields of anything else.
	provide func(*http.Client) credentials.Provider
}

// rereadAfter is how old a key from the environment or a file may become: mounted secrets change in place.
const rereadAfter = time.Minute

// Static returns credentials that never change; token may be empty.
func Static(id, secret, token string) Credentials {
	return Credentials{func(*http.Client) credentials.Provider {
		return &credentials.Static{Value: credentials.Value{AccessKeyID: id, SecretAccessKey: secret, SessionToken: token, SignerType: credentials.SignatureV4}}
	}}
}

// Standard returns the credentials that every tool for S3 finds. The first of these that is there is taken, and if it is not right it is an error, never the
// next one, nor a request without a signature:
//
//   - AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, with AWS_SESSION_TOKEN;
//   - the file AWS_SHARED_CREDENTIALS_FILE, or ~/.aws/credentials, with the profile AWS_PROFILE or "default"; it is read again every minute;
//   - a web identity (AWS_WEB_IDENTITY_TOKEN_FILE, AWS_ROLE_ARN), or what a container is given (AWS_CONTAINER_CREDENTIALS_…);
//   - the role of the machine, from the metadata service of AWS.
//
// getenv is asked for all but the last two, which read the process's environment themselves.
func Standard(getenv func(string) string) Credentials {
	return Credentials{func(client *http.Client) credentials.Provider {
		// The metadata service is a plain request to an address that on most machines does not answer at all.
		own := *client
		own.Timeout = 10 * time.Second
		return &standard{getenv: getenv, client: &own}
	}}
}

func (c Credentials) forClient(client *http.Client) *credentials.Credentials {
	if c.provide == nil {
		return credentials.New(&credentials.Static{Value: credentials.Value{SignerType: credentials.SignatureAnonymous}})
	}
	return credentials.New(c.provide(client))
}

// credentialsError says why there are none to sign with. It never contains what a file holds or a service answered.
type credentialsError struct {
	err   error
	retry bool // a service did not answer
}

func (e *credentialsError) Error() string { return "credentials: " + e.err.Error() }
func (e *credentialsError) Unwrap() error { return e.err }

// standard is the provider behind [Standard]. The library calls it under a lock.
type standard struct {
	getenv func(string) string
	client *http.Client
	until  time.Time            // when a key that came from here must be read again
	role   credentials.Provider // that of a service, once it has answered
}

// IsExpired is for the library.
func (p *standard) IsExpired() bool {
	if p.role != nil {
		return p.role.IsExpired()
	}
	return !time.Now().Before(p.until)
}

// Retrieve is for the library.
func (p *standard) Retrieve() (credentials.Value, error) {
	return p.RetrieveWithCredContext(&credentials.CredContext{})
}

// RetrieveWithCredContext is for the library.
func (p *standard) RetrieveWithCredContext(cc *credentials.CredContext) (credentials.Value, error) {
	p.role = nil
	id, secret := p.getenv("AWS_ACCESS_KEY_ID"), p.getenv("AWS_SECRET_ACCESS_KEY")
	switch {
	case id != "" && secret != "":
		p.until = time.Now().Add(rereadAfter)
		return credentials.Value{AccessKeyID: id, SecretAccessKey: secret, SessionToken: p.getenv("AWS_SESSION_TOKEN"), SignerType: credentials.SignatureV4}, nil
	case id != "" || secret != "":
		return credentials.Value{}, &credentialsError{err: errors.New("only one of AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY is set")}
	}
	value, found, err := p.fromFile(cc)
	if found || err != nil {
		return value, err
	}
	role := &credentials.IAM{Client: p.client}
	value, err = role.RetrieveWithCredContext(cc)
	if err != nil {
		return credentials.Value{}, p.noRole(err)
	}
	if value.AccessKeyID == "" || value.SecretAccessKey == "" {
		return credentials.Value{}, &credentialsError{err: errors.New("the service that should give some gave none")}
	}
	p.role = role
	return value, nil
}

func (p *standard) fromFile(cc *credentials.CredContext) (value credentials.Value, found bool, err error) {
	path := p.getenv("AWS_SHARED_CREDENTIALS_FILE")
	named := path != ""
	if !named {
		home := p.getenv("HOME")
		if home == "" {
			return value, false, nil
		}
		path = filepath.Join(home, ".aws", "credentials")
	}
	profile := p.getenv("AWS_PROFILE")
	if profile == "" {
		profile = "default"
	}
	f, err := os.Open(path)
	if err != nil {
		if !named && errors.Is(err, fs.ErrNotExist) {
			return value, false, nil
		}
		return value, false, &credentialsError{err: err}
	}
	f.Close()
	value, err = (&credentials.FileAWSCredentials{Filename: path, Profile: profile}).RetrieveWithCredContext(cc)
	if err != nil || value.AccessKeyID == "" || value.SecretAccessKey == "" {
		// The library's own words quote the lines that it does not understand.
		return value, false, &credentialsError{err: fmt.Errorf("%s has no usable keys for the profile %.64q", path, profile)}
	}
	p.until = time.Now().Add(rereadAfter)
	if soon := value.Expiration.Add(-5 * time.Minute); soon.After(p.until) {
		p.until = soon // of a process or a session, which are not for every minute
	}
	return value, true, nil
}

// noRole explains why no service gave credentials. Its URL has the token in it, so the URL is left out.
func (p *standard) noRole(err error) error {
	switch {
	case errors.Is(err, context.Canceled):
		return &credentialsError{err: context.Canceled}
	case p.getenv("AWS_WEB_IDENTITY_TOKEN_FILE") != "":
		return &credentialsError{err: fmt.Errorf("web identity: %w", plain(err)), retry: isNetwork(err)}
	case p.getenv("AWS_CONTAINER_CREDENTIALS_FULL_URI") != "" || p.getenv("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI") != "":
		return &credentialsError{err: fmt.Errorf("container's service: %w", plain(err)), retry: isNetwork(err)}
	}
	return &credentialsError{err: errors.New("none in the environment, no file, and no role of this machine")}
}
