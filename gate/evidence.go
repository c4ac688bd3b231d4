package gate

import (
	"fmt"

	"github.com/hookgate/hookgate/evidence"
)

// openDepot opens what keeps the evidence that others hand in, in the data directory.
func openDepot(c Options) (*evidence.Depot, error) {
	keys, err := evidence.ReadPublicKeys(c.Evidence.PublicKeys)
	if err != nil {
		return nil, fmt.Errorf("evidence.public_keys: %w", err)
	}
	return evidence.OpenDepot(c.dir().EvidenceDir(), evidence.Limits{
		Bundle: int64(c.Evidence.MaxSize), Total: int64(c.Evidence.MaxTotal),
		Bundles: c.Evidence.MaxBundles}, keys)
}
