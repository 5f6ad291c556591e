"""Report-supervised 3D segmentation: records and organ masks become voxel supervision."""

__version__ = "0.1.0"
