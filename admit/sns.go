package admit

// Certificates finds the certificates that a sender signs with.
type Certificates interface{}
