package images

import (
	"archive/tar"
	"io"
)

// A file is one of a build's context.
type file struct {
	name    string
	mode    int64
	content []byte
}

// writeFiles writes a build's context.
func writeFiles(w io.Writer, files []file) error {
	out := tar.NewWriter(w)
	for _, f := range files {
		if err := writeFile(out, f); err != nil {
			return err
		}
	}
	return out.Close()
}

func writeFile(out *tar.Writer, f file) error {
	err := out.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: f.name, Mode: f.mode, Size: int64(len(f.content))})
	if err == nil {
		_, err = out.Write(f.content)
	}
	return err
}
