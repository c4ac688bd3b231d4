package gate

import (
	"fmt"

	"github.com/hookgate/hookgate/evidence"
)

// openDepot opens the folder of submitted evidence in the data directory.
func openDepot(o Options) (*evidence.Depot, error) {
	keys, err := evidence.ReadPublicKeys(o.Evidence.PublicKeys)
	if err != nil {
		return nil, fmt.Errorf("evidence.public_keys: %w", err)
	}
	return evidence.OpenDepot(o.dir().EvidenceDir(), evidence.Limits{
		Bundle: int64(o.Evidence.MaxTotal / evidenceParts), Total: int64(o.Evidence.MaxTotal),
		Bundles: maxBundles}, keys)
}
