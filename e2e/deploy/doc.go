// Package deploy tests the files in the folder deploy of the repository with the types and parsers
// of the programs that read them: Docker, Compose and Kubernetes.
package deploy
