package alphalora

import "testing"

// go test -run - -bench Eigenvalues ./alphalora
func BenchmarkEigenvalues(b *testing.B) {
	const rows, cols = 512, 1376
	m := matrixOf(heavyTailed(rows, cols, 1), rows, cols)
	for _, by := range ways() {
		b.Run(by.name, func(b *testing.B) {
			for b.Loop() {
				if _, err := Eigenvalues(m, by.solver, by.precision); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
