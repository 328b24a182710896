//go:build !race

package agent

const simRace = false
