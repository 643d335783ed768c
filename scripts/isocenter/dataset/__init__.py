"""A qMRI-BIDS dataset that a site sends instead of DICOM: found, checked, and entered like any other series."""
