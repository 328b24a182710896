package mysqlx

import (
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"strconv"
)

// What caching_sha2_password keeps of a password is "$A$005$": kind of digest and thousands of rounds in hexadecimal, then 20 bytes of
// salt, then the digest of Drepper's SHA-crypt, "Unix crypt using SHA-256", in 43 characters. See refman/8.4 caching-sha2-pluggable-authentication.
const (
	sha2Prefix     = 7
	sha2Salt       = 20
	sha2Digest     = 43
	sha2MaxRounds  = 0xfff * 1000
	sha2RoundsUnit = 1000
)

// isPasswordOf reports whether stored, an account's authentication string, was made from password. It is the only way to tell which
// of an account's two passwords is the first one: a login takes either.
func isPasswordOf(stored, password string) bool {
	if len(stored) != sha2Prefix+sha2Salt+sha2Digest || stored[:3] != "$A$" || stored[sha2Prefix-1] != '$' {
		return false
	}
	thousands, err := strconv.ParseUint(stored[3:sha2Prefix-1], 16, 16)
	if rounds := int(thousands) * sha2RoundsUnit; err == nil && rounds > 0 && rounds <= sha2MaxRounds {
		salt := stored[sha2Prefix : sha2Prefix+sha2Salt]
		got := shaCrypt([]byte(password), []byte(salt), rounds)
		return subtle.ConstantTimeCompare(got, []byte(stored[sha2Prefix+sha2Salt:])) == 1
	}
	return false
}

// shaCrypt returns the digest in crypt's base 64, without prefix and salt. The letters are those of the published algorithm.
func shaCrypt(password, salt []byte, rounds int) []byte {
	sum := func(parts ...[]byte) []byte {
		h := sha256.Sum256(bytes.Join(parts, nil))
		return h[:]
	}
	// stretch repeats a digest up to n bytes.
	stretch := func(digest []byte, n int) []byte {
		return bytes.Repeat(digest, n/len(digest)+1)[:n]
	}
	b := sum(password, salt, password)
	a := append(bytes.Join([][]byte{password, salt}, nil), stretch(b, len(password))...)
	for n := len(password); n > 0; n >>= 1 {
		if n&1 != 0 {
			a = append(a, b...)
		} else {
			a = append(a, password...)
		}
	}
	c := sum(a)
	p := stretch(sum(bytes.Repeat(password, len(password))), len(password))
	s := stretch(sum(bytes.Repeat(salt, 16+int(c[0]))), len(salt))
	for i := range rounds {
		first, last := c, p
		if i%2 != 0 {
			first, last = p, c
		}
		var middleS, middleP []byte
		if i%3 != 0 {
			middleS = s
		}
		if i%7 != 0 {
			middleP = p
		}
		c = sum(first, middleS, middleP, last)
	}
	return crypt64(c)
}

// crypt64 writes 32 bytes in the order and the alphabet of crypt: three bytes from three thirds of the digest give four characters.
func crypt64(digest []byte) []byte {
	const alphabet = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	out := make([]byte, 0, sha2Digest)
	write := func(high, middle, low byte, characters int) {
		bits := uint(high)<<16 | uint(middle)<<8 | uint(low)
		for range characters {
			out = append(out, alphabet[bits&63])
			bits >>= 6
		}
	}
	i, j, k := 0, 10, 20
	for range 10 {
		write(digest[i], digest[j], digest[k], 4)
		i, j, k = k+1, i+1, j+1
	}
	write(0, digest[31], digest[30], 3)
	return out
}
