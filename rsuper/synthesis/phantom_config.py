"""What a phantom cohort looks like: grid, organs that carry tumours, sites, decoys; one frozen tree."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Organ = Literal["pancreas", "kidney", "liver"]
Attenuation = Literal["hypo", "hyper"]
ORGANS: tuple[Organ, ...] = ("pancreas", "kidney", "liver")


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class SiteConfig(_Model):
    """How one hospital's scanner renders the same patient.

    Args:
        name: site name, as in cases.csv.
        noise_hu: standard deviation of the noise after the reconstruction kernel.
        kernel_mm: correlation length (Gaussian sigma) of the noise; large is a soft kernel.
        blur_mm: Gaussian sigma of the image's point spread function.
        offset_hu: calibration offset added everywhere but in air.
        enhancement: factor on the contrast uptake of vessels and parenchyma.
    """

    name: str = Field(pattern=r"^[a-z0-9_]{1,32}$")
    noise_hu: float = Field(gt=0, le=100)
    kernel_mm: float = Field(gt=0, le=10)
    blur_mm: float = Field(gt=0, le=10)
    offset_hu: float = 0.0
    enhancement: float = Field(default=1.0, gt=0.3, lt=2)


class TumourConfig(_Model):
    """The tumours of one organ.

    Args:
        diameter_mm: smallest and largest nominal diameter; log-uniform between.
        hypo_fraction: share of hypoattenuating tumours; the others are hyperattenuating.
        hypo_hu: weakest and strongest drop below the parenchyma.
        hyper_hu: weakest and strongest rise above it.
        counts: weights of 1, 2, 3 and "multiple" lesions.
        multiple: fewest and most lesions where there are multiple.
        parts: weights of the parts; empty is by volume.
    """

    diameter_mm: tuple[float, float] = (9.0, 32.0)
    hypo_fraction: float = Field(default=0.75, ge=0, le=1)
    hypo_hu: tuple[float, float] = (26.0, 60.0)
    hyper_hu: tuple[float, float] = (28.0, 60.0)
    counts: tuple[float, float, float, float] = (0.74, 0.14, 0.06, 0.06)
    multiple: tuple[int, int] = (4, 6)
    parts: dict[str, float] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _ordered(self) -> TumourConfig:
        for name in ("diameter_mm", "hypo_hu", "hyper_hu", "multiple"):
            low, high = getattr(self, name)
            if not 0 < low <= high:
                raise ValueError(f"{name} is (low, high) with 0 < low <= high, got {(low, high)}")
        if min(self.counts) < 0 or sum(self.counts) <= 0:
            raise ValueError(f"counts are four weights with a positive sum, got {self.counts}")
        return self


_SITES = (
    SiteConfig(name="north", noise_hu=11.0, kernel_mm=2.4, blur_mm=1.7, offset_hu=0.0, enhancement=1.0),
    SiteConfig(name="south", noise_hu=17.0, kernel_mm=1.5, blur_mm=1.2, offset_hu=12.0, enhancement=0.88),
)
_PREVALENCE: dict[Organ, float] = {"pancreas": 0.5}
_TUMOURS: dict[Organ, TumourConfig] = {
    "pancreas": TumourConfig(parts={"head": 0.5, "body": 0.25, "tail": 0.25}),
    "kidney": TumourConfig(diameter_mm=(10.0, 45.0), hypo_fraction=0.9, hypo_hu=(40.0, 90.0)),
    "liver": TumourConfig(diameter_mm=(9.0, 45.0), hypo_fraction=0.8, counts=(0.45, 0.2, 0.1, 0.25)),
}


class PhantomConfig(_Model):
    """A cohort's recipe; a case is a function of (seed, index, this).

    Args:
        shape: voxels in array order (right, anterior, superior axes).
        spacing_mm: voxel size in array order.
        prevalence: organ -> share of the cases that carry tumours in it; an organ not named carries none.
        tumours: organ -> what they look like.
        sites: hospitals that share the cases.
        decoys: mean number of in-organ decoys (fluid spots, calcifications, fat clefts, vessel loops) of
            each tumour-bearing organ, the same in normals and in tumour cases.
        oral_contrast: share of the patients whose stomach, duodenum and small bowel hold positive oral contrast;
            in the others contents are mixed, and fluid in them looks like hypoattenuating tumour.
        split_fractions: shares of train, val and test, interleaved over the index.
    """

    shape: tuple[int, int, int] = (96, 80, 64)
    spacing_mm: tuple[float, float, float] = (3.0, 3.0, 3.0)
    prevalence: dict[Organ, float] = Field(default_factory=lambda: dict(_PREVALENCE))
    tumours: dict[Organ, TumourConfig] = Field(default_factory=lambda: dict(_TUMOURS))
    sites: tuple[SiteConfig, ...] = _SITES
    decoys: float = Field(default=2.5, ge=0, le=20)
    oral_contrast: float = Field(default=0.0, ge=0, le=1)
    split_fractions: tuple[float, float, float] = (0.6, 0.1, 0.3)

    @model_validator(mode="after")
    def _consistent(self) -> PhantomConfig:
        extent = [n * s for n, s in zip(self.shape, self.spacing_mm, strict=True)]
        if extent[0] < 240 or extent[1] < 200 or extent[2] < 120:
            raise ValueError(f"the grid must span at least 240 x 200 x 120 mm, got {extent}")
        if min(self.spacing_mm) < 0.5 or max(self.spacing_mm) > 6:
            raise ValueError(f"spacing_mm must lie in 0.5 to 6 mm, got {self.spacing_mm}")
        if any(not 0 <= p <= 1 for p in self.prevalence.values()):
            raise ValueError(f"prevalence holds shares in [0, 1], got {self.prevalence}")
        missing = set(self.prevalence) - set(self.tumours)
        if missing:
            raise ValueError(f"no TumourConfig for {sorted(missing)}")
        if not self.sites:
            raise ValueError("at least one site is needed")
        if min(self.split_fractions) < 0 or abs(sum(self.split_fractions) - 1) > 1e-6:
            raise ValueError(f"split_fractions are three shares that sum to 1, got {self.split_fractions}")
        return self

    @property
    def lesion_classes(self) -> tuple[str, ...]:
        """Class names such as ``pancreas_lesion``, in a fixed order."""
        return tuple(f"{organ}_lesion" for organ in ORGANS if self.prevalence.get(organ, 0) > 0)
