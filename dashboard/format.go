package dashboard

import (
	"fmt"
	"html/template"
	"math"
	"strconv"
	"strings"
	"time"
)

// functions are the functions of the templates.
func (d *Dashboard) functions() template.FuncMap {
	return template.FuncMap{
		"asset":   d.assets.url,
		"count":   count[int64],
		"size":    size,
		"rate":    rate,
		"figure":  figure,
		"percent": percent,
		"behind":  unitOf,
		"words":   words,
		"known":   known,
		"signal":  signalName,
		"unit":    signalUnit,
		"utc":     utc,
		"took":    took,
		"by":      matchedBy,
		"iso":     func(t instant) string { return t.UTC().Format(time.RFC3339Nano) },
	}
}

// words writes a name of the API in words.
func words(name any) string { return strings.ReplaceAll(fmt.Sprint(name), "_", " ") }

// count writes a number with a thin space between thousands.
func count[T ~int | ~int64](n T) string {
	digits := strconv.FormatInt(int64(n), 10)
	sign := ""
	if digits[0] == '-' {
		sign, digits = "−", digits[1:]
	}
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "\u202f" + digits[i:]
	}
	return sign + digits
}

// size writes a number of bytes in binary units.
func size(n int64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB"}
	value, unit := float64(n), 0
	for value >= 1024 && unit < len(units)-1 {
		value, unit = value/1024, unit+1
	}
	if unit == 0 {
		return fmt.Sprintf("%d B", n)
	}
	return fmt.Sprintf("%s %s", strings.TrimSuffix(strconv.FormatFloat(math.Round(10*value)/10, 'f', 1,
		64), ".0"), units[unit])
}

// instant is a time.Time or an api.Time.
type instant interface{ UTC() time.Time }

// utc writes a time in UTC. Scripts replace it by the time in the reader's zone.
func utc(t instant) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") }

// rate writes a number, with one decimal below a hundred unless it is whole.
func rate(x float64) string {
	if x < 100 && x != math.Trunc(x) {
		return strconv.FormatFloat(x, 'f', 1, 64)
	}
	return count(int64(math.Round(x)))
}

// known writes a number, or a dash if it is unknown.
func known(x *float64) string {
	if x == nil {
		return "–"
	}
	if *x < 10 && *x != math.Trunc(*x) {
		return strconv.FormatFloat(*x, 'f', 2, 64)
	}
	return rate(*x)
}

// percent writes a share in percent. It rounds down, so that only all of it is 100%.
func percent(x *float64) string {
	return strings.TrimSuffix(strconv.FormatFloat(math.Floor(*x*10)/10, 'f', 1, 64), ".0") + "%"
}

func figure(x float64) string { return known(&x) }
