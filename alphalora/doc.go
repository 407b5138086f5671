// Package alphalora decides how many experts each layer of a decoder gets, from
// nothing but its weights: numbers in, integers out.
//
// # The idea
//
// After Qing et al., "AlphaLoRA: Assigning LoRA Experts Based on Layer Training
// Quality" (EMNLP 2024). Training lengthens the upper tail of a weight matrix's
// spectrum. With λ1 ≤ ... ≤ λn the eigenvalues of WᵀW (the squared singular values
// of W, n the smaller side of W), the tail above xmin is read as a power law
// p(λ) ∝ λ^-alpha. A small alpha is a heavy tail, a well-trained matrix; a large
// alpha is a matrix that leaves more to learn. So layer i, whose value v_i is the
// mean alpha of its seven projections, gets its share of T experts by
//
//	s_i = round( v_i^beta / Σ_j v_j^beta · T ),   beta = 2.5 in the paper.
//
// # Spectra
//
// [Eigenvalues] forms the Gram matrix of the smaller side and solves the symmetric
// eigenproblem, values only and all of them, with a [Solver]. W is first divided by a
// power of two near its largest magnitude, which is exact and keeps squares in range.
// Rounding in that product hides eigenvalues below
//
//	noise = 8 · ε · √max(rows, cols) · λn
//
// (ε of the precision): they are set to zero, and the count of the others is the
// numerical rank. With [Single], a matrix whose fit depends on eigenvalues too near that
// noise is solved again in double precision; docs/spectra.md has the rule and figures.
// A [Cache] keeps what was solved.
//
// # Estimators
//
// Every [Estimator] picks xmin and then uses the Hill (maximum-likelihood) estimate
// over the k eigenvalues from xmin upwards,
//
//	alpha = 1 + k / Σ ln(λ_i / xmin),
//
// with the Kolmogorov-Smirnov distance D = max_j |1 - (λ_j/xmin)^(1-alpha) - j/k|,
// j = 0 ... k-1 over the tail. They differ in xmin alone: see [Estimators].
//
// # Degenerate spectra
//
// A number that means nothing is never returned:
//
//   - A weight that is NaN or infinite, or a matrix whose largest magnitude is out of
//     float32's normal range, is an error that names the matrix.
//   - An estimator that has no answer gives alpha, alpha_hat, ks_distance and xmin
//     no value (NaN here, null in JSON) and a warning with the reason. That is so
//     for fewer than [MinEigenvalues] eigenvalues, and for a tail with fewer different
//     ones; for an xmin hidden by noise (a rank below half the side with hill; a zero
//     or a constant matrix with all), where the textbook formula would say exactly 1;
//     and for a tail without spread (an orthogonal matrix), where it would say infinity.
//   - A matrix of deficient rank whose xmin is above the noise keeps its alpha and
//     gets a warning with its rank (in single precision where more than one
//     eigenvalue in 50 is zero).
//   - A zero matrix has no stable rank.
//   - A layer's value of a metric is the mean over those of its matrices that have
//     one; the others are left out of this mean, which their warnings say. A layer
//     in which no matrix has one has no value, and allocating by it is an error.
//
// # Allocation
//
// A [Strategy] turns a [Request] into weights for the layers, a [Rounding] turns
// weights into integers that add up to the total: see [Strategies], [Roundings] and
// [Allocate].
package alphalora
