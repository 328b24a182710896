package images

import (
	"bytes"
	"context"
	"fmt"
)

// minioDockerfile has what MinIO's image has and examples/compose uses: a shell, both programs, the folder and the words before a command.
const minioDockerfile = `ARG BASE
FROM ${BASE}
COPY s3server /usr/bin/minio
RUN ln -s minio /usr/bin/mc && mkdir /data
VOLUME /data
EXPOSE 9000
ENTRYPOINT ["minio"]
`

// MinIO returns the reference of an image that stands in for MinIO's, which no registry is asked for: its command line, environment and S3, but nothing of its
// code, no signatures that are checked, and memory instead of a disk.
func MinIO(ctx context.Context) (ref string, err error) {
	tree, err := root(ctx)
	if err != nil {
		return "", err
	}
	binary, err := buildStatic(ctx, tree, "", "-s -w -buildid=", "./internal/testing/images/s3server")
	if err != nil {
		return "", err
	}
	base, err := packaged(ctx, "debian")
	if err != nil {
		return "", err
	}
	ref = tag("minio", base, minioDockerfile, binary)
	return ref, once(ctx, ref, func() error {
		var stream bytes.Buffer
		if err := writeFiles(&stream, []file{{"Dockerfile", 0o644, []byte(minioDockerfile)}, {"s3server", 0o755, binary}}); err != nil {
			return err
		}
		if _, err := dockerWith(ctx, &stream, "build", "--tag", ref, "--build-arg", "BASE="+base, "-"); err != nil {
			return fmt.Errorf("build %s: %w", ref, err)
		}
		return nil
	})
}
