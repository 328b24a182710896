package mysqlx

import (
	"strings"
	"testing"
)

// Made by `openssl passwd -5`, whose salts are no longer than 16 bytes. The server's are tried by TestRotatePasswords.
func TestSHACrypt(t *testing.T) {
	for _, test := range []struct {
		password, salt string
		rounds         int
		want           string
	}{
		{"Hello world!", "saltstring", 5000, "5B8vYYiY.CVt1RlTTf8KbXBH3hsxY/GNooZaBBGWEc5"},
		{"Hello world!", "saltstringsaltst", 10000, "3xv.VbSHBb41AL9AvLeujZkZRBAwqFMz2.opqey6IcA"},
		{"p", "aaaaaaaaaaaaaaaa", 5000, "2JHj.zr./LKP/U1rBDp/QS/0mAA2T6rnMgMwZdtw/b4"},
		{"0123456789abcdef0123456789abcdef", "0123456789abcdef", 5000, "EjumwKy/tnXmj0Fx4ZH1AeNjTSSQ4Yqdyw9KqfLyYVD"},
		{"0123456789abcdef0123456789abcdefX0123456789abcdef0123456789abcdefX", "x", 1000, "zwKxq.rOG.2I1a.4lJDbhWkq4pG52glRnMUgbd1iZs3"},
	} {
		if got := string(shaCrypt([]byte(test.password), []byte(test.salt), test.rounds)); got != test.want {
			t.Errorf("shaCrypt(%q, %q, %d) = %s, want %s", test.password, test.salt, test.rounds, got, test.want)
		}
	}
}

// What the server stores is not ours: each byte of it counts, and nothing in it may take for ever.
func TestIsPasswordOf(t *testing.T) {
	const password = "secret-word"
	salt := strings.Repeat("s", sha2Salt)
	stored := "$A$001$" + salt + string(shaCrypt([]byte(password), []byte(salt), 1000))
	if !isPasswordOf(stored, password) {
		t.Errorf("isPasswordOf(%q) = false", stored)
	}
	for _, other := range []string{"", "secret-wore", password + "x"} {
		if isPasswordOf(stored, other) {
			t.Errorf("isPasswordOf(%q, %q) = true", stored, other)
		}
	}
	for i := range stored {
		flipped := []byte(stored)
		flipped[i] ^= 1
		if i >= 3 && i < 6 {
			flipped[i] = 'g' // not a digit
		}
		for _, bad := range []string{stored[:i], string(flipped)} {
			if isPasswordOf(bad, password) {
				t.Errorf("isPasswordOf(%q) = true", bad)
			}
		}
	}
	if isPasswordOf(strings.Replace(stored, "$001$", "$000$", 1), password) {
		t.Error("isPasswordOf() of no rounds = true")
	}
}
