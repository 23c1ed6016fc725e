"""The number format of training."""

import torch


def autocast(device: torch.device) -> torch.autocast:
    """The context of all forward passes in training: bfloat16 if it is fast, else float32."""
    dtype = autocast_dtype(device)
    return torch.autocast(device.type, dtype, enabled=dtype is not None)


def autocast_dtype(device: torch.device) -> torch.dtype | None:
    """bfloat16 if the hardware supports it, else None for float32.

    A CPU without AVX512-BF16 or AMX emulates bfloat16, many times slower than float32.
    """
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else None
    if device.type == "cpu":
        # Older versions of torch do not report capabilities; then use float32.
        has: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()
        return torch.bfloat16 if has.get("avx512_bf16") or has.get("amx_bf16") else None
    return None
