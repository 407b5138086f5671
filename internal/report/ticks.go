package report

import (
	"math"
	"strconv"
	"strings"

	"gonum.org/v1/plot"
)

// linearTicks marks at most about n multiples of 1, 2 or 5 times a power of ten within
// s; only whole numbers when whole is set.
func linearTicks(s span, n int, whole bool) []plot.Tick {
	step := niceStep((s.hi - s.lo) / float64(n))
	if whole {
		step = max(step, 1)
	}
	var ticks []plot.Tick
	first := math.Ceil(s.lo/step - 1e-9)
	for i := range 3 * n { // the bound ends ranges too narrow for their magnitude
		v := (first + float64(i)) * step
		if v > s.hi+step*1e-9 {
			break
		}
		ticks = append(ticks, plot.Tick{Value: v, Label: label(v, step)})
	}
	return ticks
}

// niceStep returns the least of 1, 2, 5 × 10ⁿ that is not below v.
func niceStep(v float64) float64 {
	v = max(v, 1e-300) // below, powers of ten lose their digits
	power := math.Pow(10, math.Floor(math.Log10(v)))
	for _, factor := range [...]float64{1, 2, 5} {
		if factor*power >= v*(1-1e-9) {
			return factor * power
		}
	}
	return 10 * power
}

// label writes v with the decimals that step needs.
func label(v, step float64) string {
	if v == 0 {
		return "0"
	}
	if a := math.Abs(v); a >= 1e6 || step < 1e-5 {
		return minus(strconv.FormatFloat(v, 'g', 6, 64))
	}
	decimals := max(0, int(math.Ceil(-math.Log10(step)-1e-9)))
	return minus(strconv.FormatFloat(v, 'f', decimals, 64))
}

func minus(figure string) string { return strings.ReplaceAll(figure, "-", "−") }

// logTicks marks the powers of ten within s, every second, fifth, ... of many, with
// unlabelled marks between; ranges of less than two decades get linear labels.
func logTicks(s span, n int) []plot.Tick {
	lo, hi := math.Ceil(math.Log10(s.lo)-1e-9), math.Floor(math.Log10(s.hi)+1e-9)
	if hi-lo < 1 {
		return linearTicks(s, n, false)
	}
	every := int(max(1, niceStep((hi-lo)/float64(n))))
	var ticks []plot.Tick
	for e := int(lo) - 1; e <= int(hi); e++ {
		for digit := 1; digit <= 9; digit++ {
			v, err := strconv.ParseFloat(strconv.Itoa(digit)+"e"+strconv.Itoa(e), 64)
			if err != nil || v < s.lo || v > s.hi {
				continue
			}
			switch {
			case digit == 1 && e%every == 0:
				ticks = append(ticks, plot.Tick{Value: v, Label: power(e)})
			case every == 1:
				ticks = append(ticks, plot.Tick{Value: v})
			}
		}
	}
	return ticks
}

// power writes 10ᵉ, and the powers near 1 as decimals.
func power(e int) string {
	if -3 <= e && e <= 3 {
		return strconv.FormatFloat(math.Pow10(e), 'f', max(0, -e), 64)
	}
	superscript := strings.NewReplacer("-", "⁻", "0", "⁰", "1", "¹", "2", "²", "3", "³", "4", "⁴", "5", "⁵", "6", "⁶", "7", "⁷", "8", "⁸", "9", "⁹")
	return "10" + superscript.Replace(strconv.Itoa(e))
}

// whole tells whether all values are integers.
func whole(values []float64) bool {
	for _, v := range values {
		if v != math.Trunc(v) {
			return false
		}
	}
	return true
}
