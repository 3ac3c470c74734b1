"""The normal distribution's cumulative function, for `gelu`."""

from __future__ import annotations

import math

import numpy as np

from cnndsl.runtime.kernel import Array

#: The shift of the substitution `s = (z − K) / (z + K)`, which maps z = 0…∞ to s = −1…1.
K = 3.75

#: From here on erfc(z) is zero.
FAR = 40.0

#: `(1 + 2z) · exp(z²) · erfc(z)` as a polynomial in s, the highest power first: its expansion in
#: Chebyshev polynomials, cut where a term is below the rounding of the element type.
DOUBLE = (
    -2.623107347133476e-09,
    -1.9551358868985616e-09,
    3.197926671666804e-08,
    1.879082322370048e-08,
    -2.4857126248016745e-07,
    -5.084465378687302e-08,
    1.7419821586224816e-06,
    -9.792625707303523e-07,
    -1.1438048033346894e-05,
    2.2387565714911816e-05,
    5.164652974177416e-05,
    -0.00029015535246077655,
    0.000293714378044958,
    0.0017556261651970652,
    -0.009746579683265262,
    0.02836227737211114,
    -0.05869339857664934,
    0.09230432116428125,
    -0.10880393014244462,
    0.08227673848999506,
    0.0035854154854790257,
    -0.14024059858554525,
    1.2375126308378275,
)
SINGLE = (
    -0.00022411674674416022,
    0.0003963076129893627,
    0.001675912217981131,
    -0.009844494859674952,
    0.02840925236412726,
    -0.05864685873554614,
    0.09229076959130378,
    -0.10881427014905069,
    0.08227841998347046,
    0.003586270394024618,
    -0.1402406583213864,
    1.2375126192677,
)


def cumulative(x: Array, result: Array, exponential: Array) -> None:
    """Φ(x), to within a few roundings of 1 (relatively to within z² of them), and `exp(−x²/2)`.

    From erfc: Φ(−z√2) = erfc(z) / 2 for z ≥ 0, and Φ(x) = 1 − Φ(−x).

    Source: Shepherd & Laframboise, Chebyshev approximation of (1 + 2x) exp(x²) erfc(x), 1981.
    """
    first, *rest = SINGLE if x.dtype == np.float32 else DOUBLE
    z = exponential
    np.abs(x, out=z)
    np.multiply(z, math.sqrt(0.5), out=z)
    np.minimum(z, FAR, out=z)
    s = (z - K) / (z + K)
    np.multiply(s, first, out=result)
    for coefficient in rest[:-1]:
        np.add(result, coefficient, out=result)
        np.multiply(result, s, out=result)
    np.add(result, rest[-1], out=result)
    np.multiply(z, 4, out=s)
    np.add(s, 2, out=s)
    np.divide(result, s, out=result)
    np.square(z, out=exponential)
    np.negative(exponential, out=exponential)
    np.exp(exponential, out=exponential)
    np.multiply(result, exponential, out=result)
    np.subtract(1, result, out=result, where=x > 0)
