"""Breathing organs before and after alignment, for docs/validation.md: ``python docs/draw_alignments.py DATA``.

DATA is the folder of public data that the tests use. Each series is aligned by ``isocenter align`` in every way, and
the residual of the fits over the organ is printed; the picture of the last way is kept.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

import nibabel as nib
import numpy as np
from draw_pictures import ASSUMED_TR, prepare_motion_series
from PIL import Image

from isocenter.align_command import align_files
from isocenter.fitting import fit
from isocenter.io.nifti import read_series
from isocenter.series_model import bind_series

#: Ellipses about the kidneys, drawn by eye on the third volume: column, row from the top, half axes [voxels], slice.
KIDNEYS = ((86, 131, 22, 38, 0), (171, 143, 21, 38, 0), (85, 129, 23, 40, 1), (170, 143, 22, 38, 1))
#: Series, its signal model, what its source does not say, ellipses of the organ (None: everything but air).
CASES = {
    "kidney_aligned": ("molli_kidney", "t1_look_locker", {}, KIDNEYS),
    "liver_aligned": ("vfa_liver", "t1_variable_flip_angle", {"RepetitionTimeExcitation": ASSUMED_TR}, None),
}
METHODS = ("reference", "rigid", "model", "deformable")


def draw_mask(shape: tuple[int, ...], ellipses: tuple[tuple[int, ...], ...]) -> np.ndarray:
    """(x, y, z) booleans: inside of any of the ellipses."""
    x, y, z = np.indices(shape)
    inside = np.zeros(shape, bool)
    for column, row, wide, high, slice_number in ellipses:
        near = ((x - column) / wide) ** 2 + ((shape[1] - 1 - y - row) / high) ** 2 <= 1
        inside |= near & (z == slice_number)
    return inside


def measure_robust(path: Path, model: str, organ: np.ndarray | None) -> float:
    """The median residual [a.u.] of robust fits over the organ."""
    series = read_series([path])
    bound = bind_series(model, series.acquisition, series.n)(np.arange(series.n))
    found = fit(bound, series.data, mask=organ, robust="tukey" if series.n > 6 else None)
    return float(np.nanmedian(found.residual))


def draw(data: Path, out: Path, names: list[str], methods: list[str]) -> None:
    """Align the cases, print what the residuals did, and keep the picture of the last method."""
    out.mkdir(parents=True, exist_ok=True)
    for name in names:
        source, model, more, ellipses = CASES[name]
        with tempfile.TemporaryDirectory() as folder:
            path = prepare_motion_series(data, Path(folder), source, more)[0]
            image = nib.load(path)
            organ = None if ellipses is None else draw_mask(image.shape[:3], ellipses)
            mask = None
            if organ is not None:
                mask = Path(folder) / "organ.nii.gz"
                nib.save(nib.Nifti1Image(organ.astype(np.uint8), image.affine), mask)
            print(f"{name}: as measured, robust fits leave {measure_robust(path, model, organ):.4g}")
            for method in methods:
                start = time.process_time()
                found = align_files([path], Path(folder) / method, model=model, method=method, mask=mask)
                far = found.table["displacement_mm"].astype(float)
                print(
                    f"{name}, {method}: residual {found.before:.4g} -> {found.after:.4g}; robust "
                    f"{measure_robust(found.files[0], model, organ):.4g}; displacement up to {far.max():.1f} mm; "
                    f"{time.process_time() - start:.0f} s of one core; {found.note}",
                    flush=True,
                )
            picture = Image.open(found.files[-1]).convert("RGB")
            picture.thumbnail((900, 900))
            picture.quantize(128).save(out / f"{name}.png", optimize=True)


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="the folder of public data")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "pictures", help="folder of the pictures")
    parser.add_argument("--only", nargs="+", choices=sorted(CASES), default=list(CASES))
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    given = parser.parse_args()
    draw(given.data, given.out, given.only, given.methods)
    return 0


if __name__ == "__main__":
    sys.exit(main())
