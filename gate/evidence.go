package gate

import (
	"fmt"

	"github.com/hookgate/hookgate/certify"
	"github.com/hookgate/hookgate/evidence"
)

// openDepot opens the folder of submitted evidence in the data directory.
func openDepot(o Options) (*evidence.Depot, error) {
	keys, err := evidence.ReadPublicKeys(o.Evidence.PublicKeys)
	if err != nil {
		return nil, fmt.Errorf("evidence.public_keys: %w", err)
	}
	demand, err := o.Evidence.demand()
	if err != nil {
		return nil, err
	}
	depot, err := evidence.OpenDepot(o.dir().EvidenceDir(), evidence.Limits{
		Bundle: int64(o.Evidence.MaxTotal / evidenceParts), Total: int64(o.Evidence.MaxTotal),
		Bundles: maxBundles}, keys)
	if err == nil {
		depot.Demand(demand.Check)
	}
	return depot, err
}

// demand is what evidence must show before the canary leaves 0 percent on it.
func (o EvidenceOptions) demand() (d certify.Demand, err error) {
	d = certify.DefaultDemand()
	if d.Profile, err = certify.LoadProfile(o.Profile); err != nil {
		return d, fmt.Errorf("evidence.profile: %w", err)
	}
	if len(o.Phases) > 0 {
		d.Phases = o.Phases
	}
	if err := d.Validate(); err != nil {
		return d, fmt.Errorf("evidence.phases: %w", err)
	}
	return d, nil
}
