// Package compose brings up examples/compose as a user does, with Docker Compose, and breaks it. Only the names of the images are changed, by the
// variables that the file has for it: no registry is needed. See package images.
package compose
