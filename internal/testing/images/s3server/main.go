// Command s3server stands in for MinIO's two programs, as far as examples/compose calls them: as `minio server DIR` it is an S3 server that keeps everything in
// memory, as `mc` it makes a bucket there. It reads the same environment and files, and takes requests for that user only. It does not check signatures.
package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"
)

// local is the address that mc calls local without having been told so.
const local = "http://localhost:9000"

func main() {
	if err := run(filepath.Base(os.Args[0]), os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(program string, args []string) error {
	switch words := strings.Join(args, " "); {
	case program == "minio" && words == "server /data":
		return serve()
	case program != "mc":
	case words == "ready local":
		return request(http.MethodGet, local+"/", "")
	case len(args) == 4 && strings.HasPrefix(words, "alias set "):
		return setAlias(args[2], args[3])
	case len(args) == 3 && strings.HasPrefix(words, "mb --ignore-existing "):
		return makeBucket(args[2])
	}
	return fmt.Errorf("%s %q: the stand-in does not know this", program, args)
}

// secret is the content of a file that a variable names.
func secret(variable string) (string, error) {
	b, err := os.ReadFile(os.Getenv(variable))
	if err == nil && len(b) == 0 {
		err = errors.New("is empty")
	}
	if err != nil {
		return "", fmt.Errorf("%s: %w", variable, err)
	}
	return strings.TrimSpace(string(b)), nil
}

func serve() error {
	user, err := secret("MINIO_ROOT_USER_FILE")
	if err != nil {
		return err
	}
	if password, err := secret("MINIO_ROOT_PASSWORD_FILE"); err != nil || len(password) < 8 {
		return fmt.Errorf("a password of %d bytes: %w", len(password), err)
	}
	fake := gofakes3.New(s3mem.New(), gofakes3.WithLogger(gofakes3.DiscardLog()), gofakes3.WithTimeSkewLimit(0)).Server()
	server := http.Server{Addr: ":9000", ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		signed := strings.Contains(r.Header.Get("Authorization"), "Credential="+user+"/")
		if r.URL.Path != "/" && !signed {
			w.WriteHeader(http.StatusForbidden)
			_, _ = io.WriteString(w, "<Error><Code>InvalidAccessKeyId</Code></Error>")
			return
		}
		fake.ServeHTTP(w, r)
	})}
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGTERM)
	go func() { <-ended; _ = server.Close() }()
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// alias is the file in which mc's stand-in keeps an address and a user.
func alias(name string) string { return filepath.Join(os.Getenv("MC_CONFIG_DIR"), name) }

func setAlias(name, url string) error {
	in := bufio.NewScanner(os.Stdin)
	var lines []string
	for in.Scan() {
		lines = append(lines, in.Text())
	}
	password, err := secret("MINIO_ROOT_PASSWORD_FILE")
	switch {
	case err != nil:
		return err
	case len(lines) != 2 || lines[1] != password:
		return fmt.Errorf("%d lines on standard input, want the user and the password", len(lines))
	}
	if err := os.MkdirAll(filepath.Dir(alias(name)), 0o700); err != nil {
		return err
	}
	return os.WriteFile(alias(name), []byte(url+"\n"+lines[0]), 0o600)
}

func makeBucket(target string) error {
	name, bucket, _ := strings.Cut(target, "/")
	b, err := os.ReadFile(alias(name))
	if err != nil {
		return err
	}
	url, user, _ := strings.Cut(string(b), "\n")
	return request(http.MethodPut, url+"/"+bucket, user)
}

// request succeeds too where what should be made is there.
func request(method, url, user string) error {
	r, err := http.NewRequest(method, url, nil)
	if err != nil {
		return err
	}
	r.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential="+user+"/")
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK && answer.StatusCode != http.StatusConflict {
		return fmt.Errorf("%s %s: %s", method, url, answer.Status)
	}
	return nil
}
