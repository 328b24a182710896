package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"ordinal/internal/testing/localset"
	"ordinal/internal/testing/mysqltest"
)

// table shows what was proved, with times.
func (d *demo) table(took time.Duration) {
	d.out.printf("\n")
	for _, p := range d.proofs {
		line := fmt.Sprintf("  %-53s %6.1f s   %s", p.what, p.took.Seconds(), p.figures)
		d.out.printf("%s\n", strings.TrimRight(line, " "))
	}
	d.out.printf("\ndemo: ok (%.0f s)\n", took.Seconds())
}

// stay says how to connect and waits for the end of ctx. Then it ends the Pods in order.
func (d *demo) stay(ctx context.Context, distribution mysqltest.Distribution) error {
	client, err := d.writeClient(distribution)
	if err != nil {
		return err
	}
	d.out.printf("\nThe Pods go on running until Ctrl-C. In another terminal:\n\n")
	for ordinal := range replicas {
		pod := d.set.Pod(ordinal)
		d.out.printf("  %s %d   # %s: mysqld %s:%d, status http://%s:%d/v1/status\n", client, ordinal, pod.Name,
			pod.Host, localset.MySQLPort, pod.Host, localset.StatusPort)
	}
	d.out.printf("\n  root's password: %s\n  volumes, logs:   %s\n\n", d.set.RootPasswordFile(), d.options.dir)
	<-ctx.Done()
	d.out.printf("\ndemo: ending the Pods …\n")
	d.set.Stop()
	return nil
}

// writeClient writes a script that runs the mysql program as root of the Pod whose ordinal is its first argument, and returns its path.
func (d *demo) writeClient(distribution mysqltest.Distribution) (string, error) {
	login, path := filepath.Join(d.options.dir, "root.cnf"), filepath.Join(d.options.dir, "mysql")
	password, err := os.ReadFile(d.set.RootPasswordFile())
	if err != nil {
		return "", err
	}
	options := fmt.Sprintf("[client]\nuser = root\npassword = \"%s\"\n", strings.TrimSpace(string(password)))
	argv := distribution.Tool("mysql", "--defaults-file="+login).Args
	for i, arg := range argv {
		argv[i] = "'" + strings.ReplaceAll(arg, "'", `'\''`) + "'"
	}
	host := strings.ReplaceAll(localset.DefaultHosts, "{ordinal}", `"$n"`)
	script := "#!/bin/sh\n# usage: mysql ORDINAL [arguments]\nn=${1:?which Pod? 0, 1 or 2}; shift\nexec " +
		strings.Join(argv, " ") + " --host=" + host + ` "$@"` + "\n"
	return path, errors.Join(os.WriteFile(login, []byte(options), 0o600), os.WriteFile(path, []byte(script), 0o755))
}
