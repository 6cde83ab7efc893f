"""What accelerators could do at best, for the model FLOP utilization (MFU).

Dense bfloat16/float16 tensor-core figures from the makers' data sheets (without sparsity), in floating-point operations
per second. A device that is not here has no MFU unless the program tells `peak_flops`.
"""

from __future__ import annotations

TERA = 1e12

PEAKS: tuple[tuple[str, float], ...] = (
    ("B200", 2250 * TERA),        # NVIDIA Blackwell datasheet: 4.5 PFLOPS with sparsity
    ("H200", 989 * TERA),         # NVIDIA H200 datasheet: 1,979 TFLOPS with sparsity
    ("H100 PCIe", 756 * TERA),    # NVIDIA H100 datasheet: 1,513 TFLOPS with sparsity
    ("H100 NVL", 835 * TERA),     # NVIDIA H100 NVL datasheet: 1,671 TFLOPS with sparsity
    ("H100", 989 * TERA),         # NVIDIA H100 datasheet (SXM): 1,979 TFLOPS with sparsity
    ("A100", 312 * TERA),         # NVIDIA A100 datasheet
    ("A40", 149.7 * TERA),        # NVIDIA A40 datasheet
    ("A30", 165 * TERA),          # NVIDIA A30 datasheet
    ("A10G", 70 * TERA),          # AWS G5: 70 TFLOPS of float16
    ("A10", 125 * TERA),          # NVIDIA A10 datasheet
    ("L40S", 362 * TERA),         # NVIDIA L40S datasheet: 733 TFLOPS with sparsity
    ("L40", 181 * TERA),          # NVIDIA L40 datasheet: 362 TFLOPS with sparsity
    ("L4", 121 * TERA),           # NVIDIA L4 datasheet: 242 TFLOPS with sparsity
    ("V100", 125 * TERA),         # NVIDIA V100 datasheet (SXM2)
    ("T4", 65 * TERA),            # NVIDIA T4 datasheet
    ("RTX 4090", 165.2 * TERA),   # NVIDIA Ada whitepaper: float16 with float32 accumulation
    ("RTX 3090", 71 * TERA),      # NVIDIA Ampere GA102 whitepaper: float16 with float32 accumulation
    ("MI300X", 1307 * TERA),      # AMD Instinct MI300X datasheet
    ("MI250X", 383 * TERA),       # AMD Instinct MI250X datasheet
)  # fmt: skip
"""A part of the device's name, to its peak; longer names stand before those that they contain."""


def peak_of(device: str) -> float | None:
    """The peak of a device by its name, or None."""
    return next((peak for part, peak in PEAKS if part.lower() in device.lower()), None)
