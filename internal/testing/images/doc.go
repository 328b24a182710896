// Package images builds the container images that tests need, on this machine and without a registry.
//
//   - MySQL: a real mysqld from Debian's packages, with an entry point that does what the official image's page promises.
//   - Agent: this project's own image, with the contents of its Dockerfile.
//   - MinIO: a stand-in for an S3-compatible store, with MinIO's command line.
//
// Its own tests run the Dockerfile itself, on an image made out of this machine's Go.
//
// Each is built once: its tag has a hash of what it is made of. Processes that want the same image wait for the one that builds it.
// Nothing removes them; `docker image rm` does, when they are not wanted any more.
//
// What is not checked: that the official image keeps its promises.
package images
