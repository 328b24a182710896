// Package docs checks documents that are written by hand against the product: that every accident which a pod can report has an entry in
// docs/what-if.md, and that links lead somewhere. Documents that are generated have their tests beside the code that they come from.
package docs
