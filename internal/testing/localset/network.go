package localset

// A Network is where each Pod has a network of its own. The program that runs the set reaches all of them.
type Network interface {
	// Enter moves the calling thread into a Pod's network: what it starts from then on lives there. It may be called concurrently,
	// each time by a thread that is locked to its goroutine and ends with it.
	Enter(ordinal int) error
}
