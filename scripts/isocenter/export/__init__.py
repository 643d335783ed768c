"""What leaves a trial in the field's formats: BIDS derivatives, DICOM Parametric Map, Segmentation, Structured Report.

highdicom writes the DICOM, and nothing else imports it: ask for the modules by name, so that steps stay light.
"""
