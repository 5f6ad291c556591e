"""What leaves the extraction: releases without free text, training sets for extractors, agreement of two extractors."""
