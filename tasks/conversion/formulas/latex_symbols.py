"""Signs and the LaTeX commands that write them; data."""

from __future__ import annotations

_WRITTEN = """
α alpha β beta γ gamma δ delta ε varepsilon ζ zeta η eta θ theta ι iota κ kappa λ lambda μ mu ν nu ξ xi π pi ρ rho
σ sigma τ tau υ upsilon φ varphi χ chi ψ psi ω omega Γ Gamma Δ Delta Θ Theta Λ Lambda Ξ Xi Π Pi Σ Sigma Υ Upsilon
Φ Phi Ψ Psi Ω Omega ϵ epsilon ϕ phi ϑ vartheta ς varsigma ϱ varrho ϖ varpi ℏ hbar ℓ ell ∂ partial ∇ nabla ∞ infty
∅ emptyset ℵ aleph ∀ forall ∃ exists ∈ in ∉ notin ∋ ni ⊂ subset ⊆ subseteq ⊃ supset ⊇ supseteq ∪ cup ∩ cap ∧ wedge
∨ vee ¬ neg ≤ leq ≥ geq ≠ neq ≈ approx ≡ equiv ∼ sim ≃ simeq ≅ cong ∝ propto ≪ ll ≫ gg ± pm ∓ mp × times ÷ div
⋅ cdot ∘ circ ∙ bullet ⊗ otimes ⊕ oplus → to ← leftarrow ↔ leftrightarrow ⇒ Rightarrow ⇐ Leftarrow ⇔ Leftrightarrow
↦ mapsto ↑ uparrow ↓ downarrow ∑ sum ∏ prod ∫ int ∬ iint ∭ iiint ∮ oint ⋃ bigcup ⋂ bigcap √ surd … ldots ⋯ cdots
⋮ vdots ⋱ ddots ′ prime ∠ angle ⊥ perp ∥ parallel ∣ mid ⟨ langle ⟩ rangle ⌊ lfloor ⌋ rfloor ⌈ lceil ⌉ rceil
‖ Vert ∖ setminus ⋆ star † dagger ‡ ddagger ⊢ vdash △ triangle ∴ therefore ∵ because ℜ Re ℑ Im ⟶ longrightarrow
"""
_PAIRS = _WRITTEN.split()

# Sign: the command without its backslash.
COMMANDS: dict[str, str] = dict(zip(_PAIRS[::2], _PAIRS[1::2], strict=True))
# Command: the sign. Some have a second name.
_SECOND_NAMES = """
rightarrow → le ≤ ge ≥ ne ≠ land ∧ lor ∨ gets ← dots … lbrace { rbrace } degree ° iff ⇔ implies ⇒ colon : lnot ¬
"""
_SECOND_PAIRS = _SECOND_NAMES.split()
SIGNS: dict[str, str] = {
    **{command: sign for sign, command in COMMANDS.items()},
    **dict(zip(_SECOND_PAIRS[::2], _SECOND_PAIRS[1::2], strict=True)),
}
_FUNCTION_NAMES = """
arccos arcsin arctan arg cos cosh cot coth csc deg det dim exp gcd hom inf ker lg lim liminf limsup ln log max min
Pr sec sin sinh sup tan tanh
"""
FUNCTIONS: frozenset[str] = frozenset(_FUNCTION_NAMES.split())
