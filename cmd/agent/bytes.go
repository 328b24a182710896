package main

import (
	"errors"
	"math"
	"math/big"
	"strconv"
	"strings"

	"github.com/spf13/pflag"
)

// bytesPerSecond makes a flag for a field in bytes per second.
func bytesPerSecond(field func(*settings) *uint64) binder {
	return func(flags *pflag.FlagSet, s *settings, name, help string) {
		flags.Var((*rateValue)(field(s)), name, help)
	}
}

// A rateValue is a number of bytes per second as people write it: 50MB, 1.5GB, 64MiB/s or 5000000.
type rateValue uint64

// Set parses text; decimal units are powers of 1000, those with an i of 1024.
func (v *rateValue) Set(text string) error {
	n, err := parseBytes(strings.TrimSuffix(text, "/s"))
	if err == nil {
		*v = rateValue(n)
	}
	return err
}

func (v *rateValue) String() string { return strconv.FormatUint(uint64(*v), 10) }

// Type is what the help calls the value.
func (v *rateValue) Type() string { return "rate" }

// size makes a flag for a field in bytes.
func size(field func(*settings) *int64) binder {
	return func(flags *pflag.FlagSet, s *settings, name, help string) {
		flags.Var((*sizeValue)(field(s)), name, help)
	}
}

// A sizeValue is a number of bytes as people write it: 32MiB, 50GB or 5000000.
type sizeValue int64

// Set parses text as a rateValue does.
func (v *sizeValue) Set(text string) error {
	n, err := parseBytes(text)
	if err == nil {
		*v = sizeValue(n)
	}
	return err
}

func (v *sizeValue) String() string {
	if n := int64(*v); n > 0 && n%(1<<20) == 0 {
		return strconv.FormatInt(n>>20, 10) + "MiB"
	}
	return strconv.FormatInt(int64(*v), 10)
}

// Type is what the help calls the value.
func (v *sizeValue) Type() string { return "size" }

// unitBytes has the longer names first: each ends in B.
var unitBytes = []struct {
	name  string
	bytes int64
}{
	{"KIB", 1 << 10}, {"MIB", 1 << 20}, {"GIB", 1 << 30}, {"TIB", 1 << 40},
	{"KB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"TB", 1e12},
	{"K", 1e3}, {"M", 1e6}, {"G", 1e9}, {"T", 1e12},
	{"B", 1},
}

var errNotBytes = errors.New("not a number of bytes")

// parseBytes reads a number of bytes with or without a unit, in capital letters or not; fractions of a byte are dropped.
func parseBytes(text string) (uint64, error) {
	number, factor := strings.ToUpper(strings.TrimSpace(text)), int64(1)
	for _, unit := range unitBytes {
		if rest, ok := strings.CutSuffix(number, unit.name); ok {
			number, factor = strings.TrimSpace(rest), unit.bytes
			break
		}
	}
	// Only digits and a point: big.Rat would also take signs, exponents and fractions.
	if number == "" || len(number) > 40 || strings.Trim(number, "0123456789.") != "" {
		return 0, errNotBytes
	}
	exact, ok := new(big.Rat).SetString(number)
	if !ok {
		return 0, errNotBytes
	}
	exact.Mul(exact, new(big.Rat).SetInt64(factor))
	whole := new(big.Int).Quo(exact.Num(), exact.Denom())
	if whole.Cmp(new(big.Int).SetUint64(math.MaxInt64)) > 0 {
		return 0, errNotBytes
	}
	return whole.Uint64(), nil
}
