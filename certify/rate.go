package certify

import (
	"fmt"
	"strconv"
)

// lossSeen returns the rate of loss, in percent, that a run with n acknowledged events would have
// seen with a probability of 95%: with a higher rate, all n events are stored in fewer than 5 of
// 100 runs. It is 100 if there are too few events to say anything.
//
// It is the rule of three: (1-p)^n ≤ 0.05 holds from p = 3/n on. See J. A. Hanley, A. Lippman-Hand,
// "If nothing goes wrong, is everything all right? Interpreting zero numerators", JAMA 249(13),
// 1983, pages 1743-1745.
func lossSeen(n int) float64 {
	if n <= 3 {
		return 100
	}
	return round(300 / float64(n))
}

// lossText says which rate of loss would have been seen.
func lossText(percent float64) string {
	if percent <= 0 || percent >= 100 {
		return "none"
	}
	return fmt.Sprintf("1 in %s", strconv.FormatFloat(float64(int(100/percent+1e-6)), 'f', -1, 64))
}

// LossText says which rate of loss all phases together would have seen.
func (v *Verdict) LossText() string { return lossText(v.LossSeen) }

// LossText says which rate of loss the phase would have seen, such as "1 in 333".
func (s *Summary) LossText() string { return lossText(s.LossSeen) }
