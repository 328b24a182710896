//go:build race

package agent

const simRace = true // the detector makes a history ten times as slow
