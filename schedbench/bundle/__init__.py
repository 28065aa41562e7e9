# SPDX-License-Identifier: Apache-2.0
"""A finished run as something that can be handed on and checked. docs/schedbench/bundles.md.

`manifest.write` makes a bundle of a run, `signature.sign` signs it with a stock SSH key, and
`verify.verify` believes nothing of it.
"""
