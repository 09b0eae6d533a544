# SPDX-License-Identifier: Apache-2.0
"""Patchherd: Ansible-native patch management server."""
__version__ = "0.1.0"
