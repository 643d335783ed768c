"""How each kind of series measures a phantom: the models that are fitted to it, the one that counts first."""

from isocenter.phantom.vial_fits import Method

INVERSION_RECOVERY = Method("T1", "T1 by inversion recovery", "T1", "s", "t1_inversion_recovery", "InversionTime")
FLIP_ANGLES = Method("T1_VFA", "T1 by variable flip angle, b1: none", "T1", "s", "t1_variable_flip_angle", "FlipAngle")
FLIP_ANGLES_B1 = Method(
    "T1_VFA_B1",
    "T1 by variable flip angle, B1 from the other vials",
    "T1",
    "s",
    "t1_variable_flip_angle",
    "FlipAngle",
    is_primary=False,
)
ECHO_TRAIN = Method("T2", "T2 by extended phase graph", "T2", "s", "t2_extended_phase_graph", "EchoTime")
PLAIN_DECAY = Method("T2_plain", "T2 by a plain exponential", "T2", "s", "t2_multi_echo", "EchoTime", is_primary=False)
GRADIENT_ECHOES = Method("T2star", "T2* by a plain exponential", "T2star", "s", "t2star_multi_echo", "EchoTime")
COMPLEX_FAT_FRACTION = Method(
    "PDFF_complex", "PDFF of complex images", "PDFF", "percent", "pdff_complex", "EchoTime", needs_phase=True
)
FAT_FRACTION = Method("PDFF", "PDFF of magnitudes", "PDFF", "percent", "pdff_magnitude", "EchoTime")
DIFFUSION = Method("ADC", "ADC by a plain exponential", "ADC", "mm2/s", "adc_monoexponential", "DiffusionBValue")

#: Per kind of series the methods, in the order in which they are made. Where a quantity is measured by several that may
#: calibrate, the first does: T1 by inversion recovery before T1 by flip angles, PDFF of complex images, where the phase
#: was sent, before PDFF of magnitudes, which cannot tell most of what lies between 50 and 100 % apart.
METHODS: dict[str, tuple[Method, ...]] = {
    "IRT1": (INVERSION_RECOVERY,),
    "VFA": (FLIP_ANGLES,),
    "MESE": (ECHO_TRAIN, PLAIN_DECAY),
    "MEGRE": (COMPLEX_FAT_FRACTION, FAT_FRACTION, GRADIENT_ECHOES),
    "dwi": (DIFFUSION,),
}
