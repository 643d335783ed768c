"""Prepare the template: a T1-weighted head without skull and the probability map of each tissue.

Writes  T1w.nii.gz, white_matter.nii.gz, gray_matter.nii.gz and csf.nii.gz into the template's folder
"""

from isocenter.io.nifti import write_image
from isocenter.step import OutDir, run_step
from isocenter.templates import load_mni_template

SOURCE = "MNI ICBM152 2009a nonlinear symmetric, as shipped with nilearn (doi 10.1016/j.neuroimage.2010.07.033)"


def make_template(*, template: OutDir) -> None:
    """Write the MNI152 template and its tissue maps into the folder `template`."""
    mni = load_mni_template()
    write_image(template / "T1w.nii.gz", mni.image, mni.affine, {"Description": SOURCE})
    for name, probability in mni.tissues.items():
        write_image(template / f"{name}.nii.gz", probability, mni.affine, {"Description": SOURCE, "Units": "1"})


if __name__ == "__main__":
    run_step(make_template, globals())
