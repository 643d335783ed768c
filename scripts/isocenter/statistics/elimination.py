"""The arithmetic of the general deviance, compiled: all effects of a design are eliminated one after the other.

V is the relative covariance of the values, X the columns of the fixed effects. Sessions, cells and subjects go in
closed form, in time linear in the cells; what remains is one small matrix of the sites. With q = Z'V⁻¹(y − Xb) and
x = Z'V⁻¹X over the levels Z of a component, the derivatives in its ratio are −q'q of the residual sum, −x'x of X'V⁻¹X
and −x'q/X'V⁻¹X of the mean; that of log det V goes backwards through the elimination.

Reference: Searle, Casella & McCulloch 1992, doi 10.1002/9780470316856, chapter 6.
"""

import numpy as np

from isocenter.models.compiled import lean_vector_kernel, vector_kernel

#: What `eliminate` gives at one point: log det V + log det X'V⁻¹X, the residual sum, the mean of the fixed effects, its
#: variance by the residual's, and 1'V⁻¹1; of the derivatives those of the first three and of log 1'V⁻¹1.
LOG_DET, RSS, MEAN, MEAN_VARIANCE, WEIGHT = range(5)
LOG_WEIGHT = 3


@lean_vector_kernel
def _factor(matrix: np.ndarray) -> float:
    """Cholesky in place (lower triangle) of a (p, p) array; the logarithm of its determinant, NaN if that fails."""
    logarithm = 0.0
    for i in range(len(matrix)):
        for j in range(i):
            total = matrix[i, j]
            for k in range(j):
                total -= matrix[i, k] * matrix[j, k]
            matrix[i, j] = total / matrix[j, j]
        total = matrix[i, i]
        for k in range(i):
            total -= matrix[i, k] ** 2
        if not total > 0:
            return np.nan
        matrix[i, i] = np.sqrt(total)
        logarithm += np.log(total)
    return logarithm


@lean_vector_kernel
def _invert(factor: np.ndarray, lower: np.ndarray, inverse: np.ndarray) -> None:
    """The inverse of a (p, p) array from its Cholesky factor; `lower` is work space."""
    p = len(factor)
    # Row j of `lower` is column j of the factor's inverse.
    for j in range(p):
        lower[j, j] = 1 / factor[j, j]
        for i in range(j + 1, p):
            total = 0.0
            for k in range(j, i):
                total += factor[i, k] * lower[j, k]
            lower[j, i] = -total / factor[i, i]
    for i in range(p):
        for j in range(i + 1):
            total = 0.0
            for k in range(i, p):
                total += lower[i, k] * lower[j, k]
            inverse[i, j] = inverse[j, i] = total


@vector_kernel
def eliminate(
    ratio, sizes, number, kind, sums, reference, square_of_size, within, first, site, p, is_random, with_slopes
):  # fmt: skip
    """What the data of a design say at (b, 4) ratios, and how it changes with them.

    Parameters
    ----------
    ratio : (b, 4) array
        Ratios of variances to the residual's, in the order of `isocenter.statistics.deviance.RATIOS`.
    sizes : (k,) array
        Values in a session, each size that occurs.
    number : (k, d) array
        Sessions of each size in a cell, each combination that occurs.
    kind : (c,) array of int
        Which combination each cell has.
    sums : (k, c) array
        Sums of a cell's session means around its reference, by the session's size.
    reference : (c,) array
        A value inside each cell.
    square_of_size : (k,) array
        Sum of squares of all session means around their references.
    within : float
        Sum of squares within sessions.
    first : (subjects + 1,) array of int
        Where each subject's cells start; the last entry is c.
    site : (c,) array of int
        Column of each cell.
    p : int
        Columns.
    is_random : bool
        Columns are random effects beside one mean; else they are the fixed effects.
    with_slopes : bool
        Derivatives are wanted.

    Returns
    -------
    pieces : (b, 5) array
        `LOG_DET` to `WEIGHT`.
    slopes : (b, 4, 4) array
        Derivatives of log det, residual sum, mean and log weight (first axis after b) in the ratios; zeros unless
        `with_slopes`. Those of the mean are right with one fixed effect only.
    """
    count, cells, subjects = len(ratio), len(site), len(first) - 1
    pieces, slopes = np.zeros((count, 5)), np.zeros((count, 4, 4))
    w, kinds = np.empty(len(sizes)), number.shape[1]
    # Weights belong to kinds of cells, of which there are few.
    weight, inverse, shrunk, slope_w, amount = np.zeros((5, kinds))
    total, lift, u, m, slope_a = np.empty((5, cells))
    for q in range(cells):
        amount[kind[q]] += 1.0
    moment, row = np.empty((2, subjects))
    C, inner, lower, P = np.empty((4, p, p))
    diagonal, b, U, PU, e, z, x, Cx = np.zeros((8, p))
    through = np.empty(cells)
    for v in range(count):
        of_subject, of_site, of_cell, of_session = ratio[v]
        log_det, yy, slope = 0.0, within, slopes[v]
        weight[:] = 0.0
        slope_w[:] = 0.0
        total[:] = 0.0
        slope_a[:] = 0.0
        for k in range(len(sizes)):
            whole = 1 + sizes[k] * of_session
            w[k] = sizes[k] / whole
            yy += w[k] * square_of_size[k]
            slope[RSS, 3] -= w[k] ** 2 * square_of_size[k]
            of_size = 0.0
            for d in range(kinds):
                of_size += amount[d] * number[k, d]
            for d in range(kinds):
                weight[d] += w[k] * number[k, d]
                slope_w[d] += w[k] ** 2 * number[k, d]
            log_det += of_size * np.log(whole)
            slope[LOG_DET, 3] += w[k] * of_size
            for q in range(cells):
                total[q] += w[k] * sums[k, q]
            if with_slopes:
                for q in range(cells):
                    slope_a[q] += w[k] ** 2 * sums[k, q]
        for d in range(kinds):
            log_det += amount[d] * np.log(1 + weight[d] * of_cell)
        for d in range(kinds):
            inverse[d], shrunk[d] = 1 / weight[d], weight[d] / (1 + weight[d] * of_cell)
        for q in range(cells):
            lift[q] = total[q] * inverse[kind[q]]
            m[q] = reference[q] + lift[q]
            u[q] = shrunk[kind[q]]
        for q in range(cells):
            yy += u[q] * m[q] ** 2 - total[q] * lift[q]
        product = 1.0
        C[:] = 0.0
        diagonal[:] = 0.0
        b[:] = 0.0
        for j in range(subjects):
            start, end = first[j], first[j + 1]
            whole = first_moment = 0.0
            for q in range(start, end):
                whole += u[q]
                first_moment += u[q] * m[q]
            for q in range(start, end):
                U[site[q]] += u[q]
            row[j], moment[j] = whole, first_moment
            kept = 1 + row[j] * of_subject
            g = of_subject / kept
            # One logarithm of many factors.
            product *= kept
            if product > 1e100:
                log_det += np.log(product)
                product = 1.0
            yy -= g * moment[j] ** 2
            for q in range(start, end):
                column, share = site[q], g * u[q]
                diagonal[column] += u[q]
                b[column] += u[q] * m[q] - share * moment[j]
                for i in range(column + 1):
                    C[column, i] -= share * U[i]
            for q in range(start, end):
                U[site[q]] = 0.0
        log_det += np.log(product)
        for i in range(p):
            C[i, i] += diagonal[i]
            for j in range(i):
                C[j, i] = C[i, j]
        # Sites: random ones leave P = (I + tC)⁻¹, fixed ones C⁻¹.
        for i in range(p):
            for j in range(p):
                inner[i, j] = of_site * C[i, j] if is_random else C[i, j]
            if is_random:
                inner[i, i] += 1.0
        log_det += _factor(inner)
        _invert(inner, lower, P)
        mean = mean_variance = xx = rest = 0.0
        for i in range(p):
            of_b = of_ones = 0.0
            for j in range(p):
                of_b += P[i, j] * b[j]
                of_ones += P[i, j]
            z[i], x[i] = of_b, of_ones
            rest += b[i] * z[i]
            mean += z[i]
            mean_variance += x[i]
        for i in range(p):
            of_x = 0.0
            for j in range(p):
                of_x += C[i, j] * (x[j] if is_random else 1.0)
            Cx[i] = of_x
            xx += of_x
        if is_random:
            mean /= xx
            log_det += np.log(xx)
            rss = yy - of_site * rest - mean**2 * xx
            mean_variance = 1 / xx
            for i in range(p):
                e[i] = of_site * z[i] + mean * x[i]
        else:
            mean /= p
            rss = yy - rest
            mean_variance /= p**2
            for i in range(p):
                e[i], x[i] = z[i], 1.0
        pieces[v, LOG_DET], pieces[v, RSS], pieces[v, MEAN] = log_det, rss, mean
        pieces[v, MEAN_VARIANCE], pieces[v, WEIGHT] = mean_variance, xx
        if not with_slopes:
            continue
        if is_random:
            for i in range(p):
                level = z[i] - mean * Cx[i]
                slope[RSS, 1] -= level**2
                slope[LOG_WEIGHT, 1] -= Cx[i] ** 2
                slope[MEAN, 1] -= level * Cx[i]
                of_det = 0.0
                for j in range(p):
                    of_det += P[i, j] * C[i, j]
                slope[LOG_DET, 1] += of_det
                for j in range(p):
                    P[i, j] *= of_site
        for j in range(subjects):
            start, end = first[j], first[j + 1]
            Ue = Ux = UPU = 0.0
            for q in range(start, end):
                Ue += u[q] * e[site[q]]
                Ux += u[q] * x[site[q]]
                for i in range(p):
                    PU[i] += u[q] * P[site[q], i]
            for q in range(start, end):
                through[q] = PU[site[q]]
            for q in range(start, end):
                UPU += u[q] * through[q]
            kept = 1 / (1 + row[j] * of_subject)
            g = of_subject * kept
            level, of_x = (moment[j] - Ue) * kept, Ux * kept
            slope[LOG_DET, 0] += row[j] * kept - UPU * kept**2
            slope[RSS, 0] -= level**2
            slope[LOG_WEIGHT, 0] -= of_x**2
            slope[MEAN, 0] -= level * of_x
            effect, effect_x = g * (moment[j] - Ue), g * Ux
            PU[:] = 0.0
            det_2 = rss_2 = weight_2 = mean_2 = det_3 = rss_3 = weight_3 = mean_3 = 0.0
            for q in range(start, end):
                i = site[q]
                log_u = P[i, i] - 2 * g * through[q] + g + g**2 * UPU
                part, of_w = u[q] * inverse[kind[q]], slope_w[kind[q]]
                distance, share = m[q] - e[i] - effect, x[i] - effect_x
                level, of_x = u[q] * distance, u[q] * share
                det_2 += u[q] - log_u * u[q] ** 2
                rss_2 += level**2
                weight_2 += of_x**2
                mean_2 += level * of_x
                # A session differs from what its cell is fitted by, which lies `away` from the reference.
                away, of_x = lift[q] - part * distance, part * share
                det_3 += of_w * (of_cell * part + log_u * part**2)
                rss_3 += away * (away * of_w - 2 * slope_a[q])
                weight_3 += of_x**2 * of_w
                mean_3 += of_x * (slope_a[q] - away * of_w)
            slope[LOG_DET, 2] += det_2
            slope[RSS, 2] -= rss_2
            slope[LOG_WEIGHT, 2] -= weight_2
            slope[MEAN, 2] -= mean_2
            slope[LOG_DET, 3] -= det_3
            slope[RSS, 3] -= rss_3
            slope[LOG_WEIGHT, 3] -= weight_3
            slope[MEAN, 3] -= mean_3
        for k in range(4):
            slope[LOG_WEIGHT, k] /= xx
            slope[MEAN, k] /= xx
            if is_random:
                slope[LOG_DET, k] += slope[LOG_WEIGHT, k]
    return pieces, slopes
