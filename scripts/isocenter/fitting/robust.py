"""Weights that take a corrupted sample out of a fit, and the scale they are measured on.

The scale comes from the best leave-one-out fit, so that one wild sample moves neither it nor the start; from there
iteratively reweighted least squares goes to the nearest optimum with the scale held fixed (an MM-estimate: Yohai
1987, doi 10.1214/aos/1176350366). Tuning constants give 95 % efficiency on Gaussian noise (Huber and Ronchetti 2009,
doi 10.1002/9780470434697).
"""

from isocenter.models.compiled import kernel, lean_vector_kernel

#: The number by which kernels know the option ``robust``.
KINDS = {None: 0, "tukey": 1, "huber": 2}

#: Robust weights need this many samples more than parameters: of four b-values and two parameters any three define a
#: curve with one sample to judge it, which says as much against each of them.
SPARE = 3

TUKEY = 4.685
HUBER = 1.345
#: A sample whose weight falls below this counts as an outlier: 2.5 scales off for Tukey, 2.7 for Huber.
OUTLIER_WEIGHT = 0.5


@kernel
def weigh(u, kind):
    """The weight of a residual of `u` scales."""
    u = abs(u)
    if kind == 1:
        if u >= TUKEY:
            return 0.0
        return (1.0 - (u / TUKEY) ** 2) ** 2
    if kind == 2:
        return 1.0 if u <= HUBER else HUBER / u
    return 1.0


@kernel
def slope_of_influence(u, kind):
    """The derivative of u times its weight."""
    u = abs(u)
    if kind == 1:
        if u >= TUKEY:
            return 0.0
        t = (u / TUKEY) ** 2
        return (1.0 - t) * (1.0 - 5.0 * t)
    if kind == 2:
        return 1.0 if u <= HUBER else 0.0
    return 1.0


@lean_vector_kernel
def weigh_all(residual, scale, kind, weight, bend):
    """Write weights and slopes of influence (n,) of residuals (n,); returns what the M-estimate makes least.

    That is the sum of rho(r / scale), with rho' = r w / scale; without weights half the sum of squares.
    """
    total = 0.0
    if kind == 1:
        factor = 1.0 / (TUKEY * scale)
        for i in range(residual.size):
            t = min((residual[i] * factor) ** 2, 1.0)
            rest = 1.0 - t
            weight[i] = rest * rest
            bend[i] = rest * (1.0 - 5.0 * t)
        for i in range(residual.size):
            rest = 1.0 - min((residual[i] * factor) ** 2, 1.0)
            total += 1.0 - rest * rest * rest
        return total * TUKEY**2 / 6.0
    if kind == 0:
        for i in range(residual.size):
            weight[i] = 1.0
            bend[i] = 1.0
        for i in range(residual.size):
            total += residual[i] * residual[i]
        return 0.5 * total
    for i in range(residual.size):
        u = abs(residual[i]) / scale
        is_near = u <= HUBER
        weight[i] = 1.0 if is_near else HUBER / u
        bend[i] = 1.0 if is_near else 0.0
    for i in range(residual.size):
        u = abs(residual[i]) / scale
        total += 0.5 * u * u if u <= HUBER else HUBER * (u - 0.5 * HUBER)
    return total


@lean_vector_kernel
def estimate_scale(absolute, count, parameters):
    """A robust standard deviation from the first `count` absolute residuals.

    A fit with p parameters makes p residuals small whatever the noise: the median is taken over the others.
    """
    m = count - parameters
    low, high = parameters + (m - 1) // 2, parameters + m // 2
    middle = 0.0
    for i in range(count):
        # The place of each in the order, by counting: quicker than sorting a few numbers.
        rank = 0
        for j in range(count):
            rank += absolute[j] < absolute[i]
        for j in range(i):
            rank += absolute[j] == absolute[i]
        if rank == low:
            middle += 0.5 * absolute[i]
        if rank == high:
            middle += 0.5 * absolute[i]
    return 1.4826 * middle
