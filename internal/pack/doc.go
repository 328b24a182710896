// Package pack compresses blocks of data files with zstd, one by one, and decides whether that is worth while.
//
// A [Packer] belongs to one sender, an [Unpacker] to one receiver, who does not trust what it gets. A [Chooser] compares what packing costs with what the
// link takes for the bytes it saves: on a fast link nothing is packed.
package pack
