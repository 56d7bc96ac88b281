"""Passages told again in other forms: what a reply says, and whether it keeps to its passage.

The forms are after WRAP (Maini et al. 2024, arXiv:2401.16380), which rephrases web text as an
encyclopedia, as questions and answers and more; Nemotron-CC (Su et al. 2024, arXiv:2412.02595); and
MIND (Akter et al. 2024, arXiv:2410.12881), talks that work out the mathematics of a page. Those
rely on the prompt; here each rephrasing is compared with its passage, since nobody votes on it.
"""
