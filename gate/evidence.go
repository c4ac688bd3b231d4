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
	check := func(string) (string, error) {
		return "this gate has no EvidenceOptions.Check, so no evidence is enough", nil
	}
	if o.Evidence.Check != nil {
		if check, err = o.Evidence.Check(o.Evidence.Profile, o.Evidence.Phases); err != nil {
			return nil, err
		}
	}
	depot, err := evidence.OpenDepot(o.dir().EvidenceDir(), evidence.Limits{
		Bundle: int64(o.Evidence.MaxTotal / evidenceParts), Total: int64(o.Evidence.MaxTotal),
		Bundles: maxBundles}, keys)
	if err == nil {
		depot.Demand(check)
	}
	return depot, err
}
