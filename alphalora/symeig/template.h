// The reduction and the products for one number type and one instruction set. symeig.c
// includes this file once for each pair, with these macros set:
//
//   T, W       the number type, and the integer type of its size
//   VB         bytes of a vector
//   NV         vectors in a row of a register tile
//   B          bandwidth, a multiple of the tile's columns
//   FN         static and the instruction set
//   SUM        the sum of a vector's lanes
//   LOWER      the masks of the lower triangle, see symeig.c
//   NAME(x)    a name for this pair
//
// Matrices are row-major; of symmetric ones only the lower triangle is read, and
// what is written above the diagonal means nothing.

typedef T NAME(vec) __attribute__((vector_size(VB), aligned(sizeof(T)), may_alias));
typedef W NAME(bits) __attribute__((vector_size(VB), aligned(sizeof(T)), may_alias));
#define V NAME(vec)
#define BITS NAME(bits)
#define LANES ((long)(VB / sizeof(T)))
#define NR (NV * LANES)
#define MR 6
#define NB (B / LANES)
#define AT(p) (*(V *)(p))

// c[rows×nr] += factor · a·b for one register tile, rows ≤ MR and nr ≤ NR. Element
// (i, l) of a is a[i·ra + l·ca]; b has NR readable columns in each of its k rows.
FN void NAME(tile)(long k, const T *a, long ra, long ca, const T *b, long ldb, T *c, long ldc, long rows, long nr, T factor) {
  const T *row[MR];
  V sum[MR][NV];
  for (long i = 0; i < MR; i++) {
    row[i] = a + (i < rows ? i : rows - 1) * ra;
    for (long q = 0; q < NV; q++) sum[i][q] = (V){0};
  }
  for (long i = 0; i < rows; i++)
    for (long q = 0; q < NV; q++) __builtin_prefetch(c + i * ldc + q * LANES, 1);
  for (long l = 0; l < k; l++, b += ldb) {
    V right[NV];
#pragma GCC unroll 8
    for (long q = 0; q < NV; q++) right[q] = AT(b + q * LANES);
#pragma GCC unroll 8
    for (long i = 0; i < MR; i++) {
      T left = row[i][l * ca];
#pragma GCC unroll 8
      for (long q = 0; q < NV; q++) sum[i][q] += left * right[q];
    }
  }
  if (nr == NR) {
    for (long i = 0; i < rows; i++)
      for (long q = 0; q < NV; q++) AT(c + i * ldc + q * LANES) += factor * sum[i][q];
    return;
  }
  for (long i = 0; i < rows; i++)
    for (long j = 0; j < nr; j++) c[i * ldc + j] += factor * ((T *)&sum[i][0])[j];
}

// c[m×n] += factor · a·b with n a multiple of NR, depth by depth so that each sum of
// single precision stays short.
FN void NAME(multiply)(long m, long n, long k, const T *a, long ra, long ca, const T *b, long ldb, T *c, long ldc, T factor) {
  for (long l = 0; l < k; l += DEPTH) {
    long depth = k - l < DEPTH ? k - l : DEPTH;
    for (long j = 0; j < n; j += NR)
      for (long i = 0; i < m; i += MR)
        NAME(tile)(depth, a + i * ra + l * ca, ra, ca, b + l * ldb + j, ldb, c + i * ldc + j, ldc, m - i < MR ? m - i : MR, NR, factor);
  }
}

// The lower triangle of c[n×n] += factor · a·b. Columns of b are packed into strip,
// k·NR numbers, by element (l, j) = b[l·rb + j·cb].
FN void NAME(triangle)(long n, long k, const T *a, long ra, long ca, long group, const T *b, long rb, long cb, T *c, long ldc, T factor, T *strip) {
  for (long j = 0; j < n; j += NR) {
    long nr = n - j < NR ? n - j : NR;
    for (long l = 0; l < k; l++)
      for (long q = 0; q < NR; q++) strip[l * NR + q] = q < nr ? b[l * rb + (j + q) * cb] : 0;
    for (long i = j / MR * MR; i < n; i += MR) {
      const T *left = group ? a + i / MR * group : a + i * ra;
      NAME(tile)(k, left, ra, ca, strip, NR, c + i * ldc + j, ldc, n - i < MR ? n - i : MR, nr, factor);
    }
  }
}

// Values from ≤ i < from+count of src in one of the file formats, which are finite.
FN void NAME(widen)(int format, const void *src, long from, long count, double scale, T *out) {
  const T factor = (T)scale;
  switch (format) {
  case SYMEIG_F64:
    for (long i = 0; i < count; i++) out[i] = (T)(((const double *)src)[from + i] * scale);
    break;
  case SYMEIG_F32:
    for (long i = 0; i < count; i++) out[i] = (T)((const float *)src)[from + i] * factor;
    break;
  case SYMEIG_F16:
    for (long i = 0; i < count; i++) out[i] = (T)half(((const uint16_t *)src)[from + i]) * factor;
    break;
  case SYMEIG_BF16:
    for (long i = 0; i < count; i++) out[i] = (T)single((uint32_t)((const uint16_t *)src)[from + i] << 16) * factor;
    break;
  }
}

// The lower triangle of g[n×n] += pᵀp for the panel p[depth×n]. room holds
// depth·(n+MR+NR) numbers.
FN void NAME(panel)(long n, long depth, const T *p, T *g, long ldg, T *room) {
  T *left = room, *strip = room + depth * ((n + MR - 1) / MR * MR);
  for (long i = 0; i < n; i += MR)
    for (long l = 0; l < depth; l++)
      for (long r = 0; r < MR; r++) left[i * depth + l * MR + r] = i + r < n ? p[l * n + i + r] : 0;
  NAME(triangle)(n, depth, left, 1, MR, depth * MR, p, n, 1, g, ldg, 1, strip);
}

// w[m×B] = a·v for the symmetric a[m×m]: each block of its lower triangle is copied
// once, to a place without cache conflicts, and serves both halves.
FN void NAME(symmetric_times)(long m, const T *a, long lda, const T *v, T *w, T *block) {
  const long side = BLOCK, ld = BLOCK + 16;
  memset(w, 0, sizeof(T) * m * B);
  for (long i = 0; i < m; i += side) {
    long rows = m - i < side ? m - i : side;
    for (long k = 0; k <= i; k += side) {
      long cols = m - k < side ? m - k : side;
      for (long r = 0; r < rows; r++) memcpy(block + r * ld, a + (i + r) * lda + k, sizeof(T) * (k == i ? r + 1 : cols));
      if (k == i) {
        for (long r = 0; r < rows; r++)
          for (long c = 0; c < r; c++) block[c * ld + r] = block[r * ld + c];
      } else {
        NAME(multiply)(cols, B, rows, block, 1, ld, v + i * B, B, w + k * B, B, 1);
      }
      NAME(multiply)(rows, B, cols, block, ld, 1, v + k * B, B, w + i * B, B, 1);
    }
  }
}

// One pass over the rows below c for qr: they get the reflector of column c, which is
// scale times that column, and s becomes the sums over r > c+1 of p[r,c+1]·p[r,j].
FN void NAME(reflect_rows)(long c, long m, T *p, T scale, const T *w, T *s) {
  const long from = (c < 0 ? 0 : c) / LANES;
  memset(s, 0, sizeof(T) * B);
  for (long begin = c + 1; begin < m; begin += SHORT) {
    long end = m - begin < SHORT ? m : begin + SHORT;
    V part[NB];
    for (long q = 0; q < NB; q++) part[q] = (V){0};
    for (long r = begin; r < end; r++) {
      T *row = p + r * B;
      if (c >= 0) {
        T x = row[c] *= scale;
        for (long q = from; q < NB; q++) AT(row + q * LANES) -= x * AT(w + q * LANES);
      }
      if (r == c + 1 || c + 1 == B) continue;
      T next = row[c + 1];
      for (long q = from; q < NB; q++) part[q] += next * AT(row + q * LANES);
    }
    for (long q = from; q < NB; q++) AT(s + q * LANES) += part[q];
  }
}

// Householder's QR of p[m×B] in place: R goes to top[B×B], the reflectors (unit lower
// trapezoidal; a zero column where nothing is to be reflected) stay in p. The sums of
// column c+1 with those right of it are taken while the rows get column c's reflector.
FN void NAME(qr)(long m, T *p, T *top) {
  const long steps = m - 1 < B ? m - 1 : B;
  T s[B], w[B], unit[B] = {0};
  memset(top, 0, sizeof(T) * B * B);
  NAME(reflect_rows)(-1, m, p, 0, NULL, s);
  for (long c = 0; c < B && c < m; c++) {
    T *head = p + c * B, alpha = head[c], scale = 0;
    memset(w, 0, sizeof w);
    if (c < steps && s[c] > 0) {
      T norm = (T)sqrt((double)alpha * alpha + (double)s[c]);
      T beta = alpha > 0 ? -norm : norm, tau = (beta - alpha) / beta;
      scale = 1 / (alpha - beta);
      for (long j = c + 1; j < B; j++) {
        w[j] = tau * (head[j] + s[j] * scale);
        head[j] -= w[j];
      }
      head[c] = beta;
      unit[c] = 1;
    }
    memcpy(top + c * B + c, head + c, sizeof(T) * (B - c));
    NAME(reflect_rows)(c, m, p, scale, w, s);
  }
  for (long r = 0; r < B && r < m; r++) {
    p[r * B + r] = unit[r];
    for (long j = r + 1; j < B; j++) p[r * B + j] = 0;
  }
}

// t[B×B], upper triangular, such that I - V t Vᵀ is the product of the reflectors in
// v[m×B]. From t⁻¹ + t⁻ᵀ = VᵀV, so that it is orthogonal to working precision whatever
// rounding did to the reflectors.
FN void NAME(compact)(long m, const T *v, T *t) {
  T products[B * B] = {0};
  NAME(multiply)(B, B, m, v, 1, B, v, B, products, B, 1);
  memset(t, 0, sizeof(T) * B * B);
  for (long j = 0; j < B; j++) {
    double size = products[j * B + j];
    if (size == 0) {
      t[j * B + j] = 1;
      continue;
    }
    t[j * B + j] = (T)(2 / size);
    for (long i = j - 1; i >= 0; i--) {
      double sum = 0;
      for (long l = i + 1; l <= j; l++) sum += (double)products[i * B + l] * t[l * B + j];
      t[i * B + j] = (T)(-sum * t[i * B + i]);
    }
  }
}

// a[m×m] becomes QᵀaQ, its lower triangle, for Q = I - V t Vᵀ: a - V xᵀ - x Vᵀ with
// x = y - ½ V tᵀVᵀy and y = a V t. room holds m·5B numbers and a block.
FN void NAME(similar)(long m, T *a, long lda, const T *v, const T *t, T *room) {
  T *w = room, *pair = w + m * B, *swapped = pair + m * 2 * B, *block = swapped + m * 2 * B;
  T inner[B * B] = {0}, half[B * B] = {0};
  NAME(symmetric_times)(m, a, lda, v, w, block);
  T *y = block;
  memset(y, 0, sizeof(T) * m * B);
  NAME(multiply)(m, B, B, w, B, 1, t, B, y, B, 1);
  NAME(multiply)(B, B, m, v, 1, B, y, B, inner, B, 1);
  NAME(multiply)(B, B, B, t, 1, B, inner, B, half, B, (T)0.5);
  NAME(multiply)(m, B, B, v, B, 1, half, B, y, B, -1);
  for (long i = 0; i < m; i++)
    for (long j = 0; j < B; j++) {
      pair[i * 2 * B + j] = swapped[i * 2 * B + B + j] = y[i * B + j];
      pair[i * 2 * B + B + j] = swapped[i * 2 * B + j] = v[i * B + j];
    }
  NAME(triangle)(m, 2 * B, pair, 2 * B, 1, 0, swapped, 1, 2 * B, a, lda, -1, block);
}

// The band holds row i of the matrix in columns i-2B+1 ... i+B: two bands below the
// diagonal for the bulge, one above that whole vectors may spill into. Seen from
// BAND_ORIGIN it is a matrix of row stride BAND.
#define BAND (3 * B + 16)
#define BAND_ORIGIN (2 * B)
#define BAND_SIZE(n) (((n) + 2 * B) * (BAND + 1))

// a[n×n] to a symmetric band of B below the diagonal with the same eigenvalues. a is
// overwritten; band comes zeroed.
FN void NAME(to_band)(long n, T *a, long lda, T *band, T *room) {
  T *g = band + BAND_ORIGIN, *v = room, *top = v + n * B, *t = top + B * B, *rest = t + B * B;
  for (long j = 0; j < n; j += B) {
    long width = n - j < B ? n - j : B, m = n - j - width;
    for (long i = j; i < j + width; i++) memcpy(g + i * BAND + j, a + i * lda + j, sizeof(T) * (i - j + 1));
    if (m < 1) return;
    for (long i = 0; i < m; i++) memcpy(v + i * B, a + (j + B + i) * lda + j, sizeof(T) * B);
    NAME(qr)(m, v, top);
    for (long i = 0; i < B && i < m; i++) memcpy(g + (j + B + i) * BAND + j + i, top + i * B + i, sizeof(T) * (B - i));
    if (m < 2) continue;
    NAME(compact)(m, v, t);
    NAME(similar)(m, a + (j + B) * lda + j + B, lda, v, t, rest);
  }
}

// chase is one sweep's bulge on its way down the band.
typedef struct {
  long at, length; // the rows and columns of its reflector; at ≥ n: the sweep is done
  T tau;
  T v[B];
} NAME(chase);

// The reflector that sends (alpha, x) to (beta, 0), with squares the sum of x². Returns
// its tau (0 where x is zero already); scale·x is its tail below the leading 1.
FN T NAME(reflector)(T alpha, double squares, T *beta, T *scale) {
  *beta = alpha, *scale = 0;
  if (!(squares > 0)) return 0;
  T norm = (T)sqrt((double)alpha * alpha + squares);
  *beta = alpha > 0 ? -norm : norm;
  *scale = 1 / (alpha - *beta);
  return (*beta - alpha) / *beta;
}

// d[l×l], symmetric, gets the reflector of s from both sides.
FN void NAME(both_sides)(long l, T *d, T tau, const T *x) {
  V v[NB], w[NB];
  T dots[B] = {0}, all[B];
  for (long q = 0; q < NB; q++) v[q] = AT(x + q * LANES), w[q] = (V){0};
  for (long i = 0; i < l; i++) {
    const T *row = d + i * BAND;
    const long last = i / LANES;
    V dot = {0};
    for (long q = 0; q < last; q++) {
      V r = AT(row + q * LANES);
      dot += r * v[q];
      w[q] += x[i] * r;
    }
    V r = (V)((BITS)AT(row + last * LANES) & *(const BITS *)(LOWER + (LANES - 1 - i % LANES)));
    dot += r * v[last];
    w[last] += x[i] * r;
    dots[i] = SUM(dot) - row[i] * x[i];
  }
  V along = {0};
  for (long q = 0; q < NB; q++) {
    w[q] = tau * (w[q] + AT(dots + q * LANES));
    along += w[q] * v[q];
  }
  T half = tau * SUM(along) / 2;
  for (long q = 0; q < NB; q++) AT(all + q * LANES) = w[q] -= half * v[q];
  for (long i = 0; i < l; i++) {
    T *row = d + i * BAND;
    for (long q = 0; q <= i / LANES; q++) AT(row + q * LANES) -= x[i] * w[q] + all[i] * v[q];
  }
}

// b[l×B], below the diagonal block, gets the reflector of s from the right; then its
// first column is reduced to one number by a reflector from the left, which s becomes.
FN void NAME(off_diagonal)(long l, T *b, NAME(chase) *s) {
  V v[NB], sums[NB];
  T first[B], total[B];
  for (long q = 0; q < NB; q++) v[q] = AT(s->v + q * LANES), sums[q] = (V){0};
  for (long i = 0; i < l; i++) {
    T *row = b + i * BAND;
    V dot = {0};
    for (long q = 0; q < NB; q++) dot += AT(row + q * LANES) * v[q];
    T factor = s->tau * SUM(dot);
    T x = row[0] - factor * s->v[0];
    first[i] = x;
    for (long q = 0; q < NB; q++) {
      V r = AT(row + q * LANES) -= factor * v[q];
      if (i > 0) sums[q] += x * r;
    }
  }
  for (long q = 0; q < NB; q++) AT(total + q * LANES) = sums[q];
  T beta, scale;
  s->tau = NAME(reflector)(first[0], total[0], &beta, &scale);
  for (long i = 0; i < B; i++) s->v[i] = i == 0 ? 1 : i < l ? first[i] * scale : 0;
  for (long q = 0; q < NB; q++) sums[q] = s->tau * (AT(b + q * LANES) + scale * sums[q]);
  for (long i = 0; i < l; i++) {
    T *row = b + i * BAND;
    for (long q = 0; q < NB; q++) AT(row + q * LANES) -= s->v[i] * sums[q];
    row[0] = i == 0 ? beta : 0;
  }
}

// The first reflector of sweep c, which reduces column c.
FN void NAME(begin)(long n, long c, T *g, NAME(chase) *s) {
  s->at = c + 1;
  s->length = n - s->at < B ? n - s->at : B;
  double squares = 0;
  for (long i = 1; i < s->length; i++) squares += (double)g[(s->at + i) * BAND + c] * g[(s->at + i) * BAND + c];
  T *head = g + s->at * BAND + c, beta, scale;
  s->tau = NAME(reflector)(head[0], squares, &beta, &scale);
  for (long i = 0; i < B; i++) s->v[i] = i == 0 ? 1 : i < s->length ? head[i * BAND] * scale : 0;
  for (long i = 0; i < s->length; i++) head[i * BAND] = i == 0 ? beta : 0;
}

// One step of a sweep: its reflector from both sides, and the next one.
FN void NAME(step)(long n, T *g, NAME(chase) *s) {
  T *d = g + s->at * BAND + s->at;
  NAME(both_sides)(s->length, d, s->tau, s->v);
  long next = s->at + s->length, below = n - next < B ? n - next : B;
  if (below > 0) NAME(off_diagonal)(below, d + s->length * BAND, s);
  s->at = next, s->length = below;
}

// The band to tridiagonal: diagonal d[n], off-diagonal e[n-1]. Sweep c reduces column
// c and chases the bulge out. A sweep may follow three steps behind the one before
// it, so SWEEPS of them go down together, in what the cache holds of the band.
FN void NAME(to_tridiagonal)(long n, T *band, double *d, double *e) {
  T *g = band + BAND_ORIGIN;
  NAME(chase) sweeps[SWEEPS];
  for (long c = 0; c < n - 2; c += SWEEPS) {
    long count = n - 2 - c < SWEEPS ? n - 2 - c : SWEEPS;
    for (long time = 0, open = count; open > 0; time++) {
      for (long i = 0; i < count; i++) {
        if (time < 3 * i) break;
        if (time == 3 * i) NAME(begin)(n, c + i, g, &sweeps[i]);
        if (sweeps[i].at >= n) continue;
        NAME(step)(n, g, &sweeps[i]);
        if (sweeps[i].at >= n) open--;
      }
    }
  }
  for (long i = 0; i < n; i++) {
    d[i] = g[i * BAND + i];
    if (i + 1 < n) e[i] = g[(i + 1) * BAND + i];
  }
}

FN int NAME(tridiagonal)(long n, void *gram, long lda, double *d, double *e) {
  size_t block = (size_t)(BLOCK + 16) * BLOCK, wide = (size_t)n * B;
  T *room = malloc(sizeof(T) * (6 * wide + 2 * B * B + (block > wide ? block : wide) + 64));
  T *band = calloc(BAND_SIZE(n), sizeof(T));
  if (room != NULL && band != NULL) {
    NAME(to_band)(n, gram, lda, band, room);
    NAME(to_tridiagonal)(n, band, d, e);
  }
  int done = room != NULL && band != NULL;
  free(room);
  free(band);
  return done;
}

// Positions k ≤ position < k+depth of the longer side of src, each with all n of the
// smaller side, widened and scaled into p[depth×n].
FN void NAME(fill)(int format, const void *src, long rows, long cols, long k, long depth, double scale, T *p) {
  if (rows >= cols) {
    NAME(widen)(format, src, k * cols, depth * cols, scale, p);
    return;
  }
  T some[16][PANEL];
  for (long i = 0; i < rows; i += 16) {
    long count = rows - i < 16 ? rows - i : 16;
    for (long r = 0; r < count; r++) NAME(widen)(format, src, (i + r) * cols + k, depth, scale, some[r]);
    for (long l = 0; l < depth; l++)
      for (long r = 0; r < count; r++) p[l * rows + i + r] = some[r][l];
  }
}

// The lower triangle of the Gram matrix g of the smaller side of src, scaled.
FN int NAME(gram)(int format, const void *src, long rows, long cols, double scale, void *g, long ldg) {
  long n = rows < cols ? rows : cols, m = rows < cols ? cols : rows;
  T *p = malloc(sizeof(T) * PANEL * (2 * n + MR + NR));
  if (p == NULL) return 0;
  for (long i = 0; i < n; i++) memset((T *)g + i * ldg, 0, sizeof(T) * n);
  for (long k = 0; k < m; k += PANEL) {
    long depth = m - k < PANEL ? m - k : PANEL;
    NAME(fill)(format, src, rows, cols, k, depth, scale, p);
    NAME(panel)(n, depth, p, g, ldg, p + PANEL * n);
  }
  free(p);
  return 1;
}

#undef V
#undef BITS
#undef LANES
#undef NR
#undef MR
#undef NB
#undef AT
#undef BAND
#undef BAND_ORIGIN
#undef BAND_SIZE
#undef T
#undef W
#undef B
#undef SUM
#undef LOWER
#undef NAME
