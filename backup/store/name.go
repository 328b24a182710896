package store

import (
	"fmt"
	"strings"
)

const (
	// MaxName is the largest length of a name in bytes. With a prefix it stays below the 1024 of S3.
	MaxName = 512
	// maxPart is the largest length of what stands between two slashes. File systems end at 255.
	maxPart = 200
	// maxParts bounds how deep a directory becomes.
	maxParts = 16
)

// CheckName returns nil for a name that every store can keep, and else an [ErrName]. It is at most [MaxName] bytes, in parts separated by slashes;
// each is 1 to 200 ASCII letters, digits, dots, hyphens and underscores and begins with a letter or digit. The one exception is [MarkerName].
//
// A name that is the directory of another one ("a" beside "a/b") passes, and yet not every store can keep both: do not make such names. Do not make names
// either that differ only in their case.
func CheckName(name string) error {
	if name == MarkerName {
		return nil
	}
	if name == "" {
		return badName(name, "it is empty")
	}
	if len(name) > MaxName {
		return badName(name[:64]+"…", fmt.Sprintf("it has more than %d bytes", MaxName))
	}
	parts := strings.Split(name, "/")
	if len(parts) > maxParts {
		return badName(name, fmt.Sprintf("it has more than %d parts", maxParts))
	}
	for _, part := range parts {
		switch {
		case part == "":
			return badName(name, "one of its parts is empty")
		case len(part) > maxPart:
			return badName(name, fmt.Sprintf("one of its parts has more than %d bytes", maxPart))
		case !isAlphanumeric(part[0]):
			return badName(name, "one of its parts begins with neither letter nor digit")
		}
		if i := strings.IndexFunc(part, isForbidden); i >= 0 {
			return badName(name, fmt.Sprintf("it contains %q", part[i]))
		}
	}
	return nil
}

// CanBegin reports whether a name could begin with prefix, as far as its characters go. For those who implement [Reader.List] and send prefixes elsewhere.
func CanBegin(prefix string) bool {
	return !strings.ContainsFunc(prefix, func(r rune) bool { return r != '/' && isForbidden(r) })
}

func isForbidden(r rune) bool {
	return r >= 0x80 || !isAlphanumeric(byte(r)) && r != '.' && r != '-' && r != '_'
}

func isAlphanumeric(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}

func badName(name, why string) error {
	return &Error{Op: "use", Name: fmt.Sprintf("the name %q", name), Kind: ErrName, Err: fmt.Errorf("%s", why)}
}
