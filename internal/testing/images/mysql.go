package images

import (
	"bytes"
	"context"
	"embed"
	"fmt"
	"io/fs"
)

// stock is what makes an image of the packages' server behave as the official one.
//
//go:embed stock
var stock embed.FS

// MySQL returns the reference of an image that takes the place of the official mysql image, with a real mysqld of the version that Debian
// sid has. The first call on a machine downloads some 80 MB.
func MySQL(ctx context.Context) (ref string, err error) {
	base, err := packaged(ctx, "debian-mysql", "mysql-server-core", "mysql-client-core", "gosu", "mawk", "openssl", "tzdata")
	if err != nil {
		return "", err
	}
	files, err := fs.Sub(stock, "stock")
	if err != nil {
		return "", err
	}
	inputs := []any{base}
	names := []string{"Dockerfile", "docker-entrypoint.sh", "my.cnf"}
	var contents []file
	for _, name := range names {
		b, err := fs.ReadFile(files, name)
		if err != nil {
			return "", err
		}
		mode := int64(0o644)
		if name == "docker-entrypoint.sh" {
			mode = 0o755
		}
		contents = append(contents, file{name, mode, b})
		inputs = append(inputs, name, b)
	}
	ref = tag("mysql", inputs...)
	return ref, once(ctx, ref, func() error {
		var stream bytes.Buffer
		if err := writeFiles(&stream, contents); err != nil {
			return err
		}
		if _, err := dockerWith(ctx, &stream, "build", "--tag", ref, "--build-arg", "BASE="+base, "-"); err != nil {
			return fmt.Errorf("build %s: %w", ref, err)
		}
		return nil
	})
}
