// SPDX-License-Identifier: Apache-2.0

/// A rule that a program can check. CONTRIBUTING and ARCHITECTURE.md say why it exists.
package enum Rule: String, CaseIterable, Sendable {
    case licence, columns, fileLength, documentation, imports, unsafe, systems, headerFields, leftovers, words, links,
        testNames

    /// All places where the rule is broken.
    package func offences(in tree: SourceTree) -> [Offence] {
        switch self {
        case .licence: Form.licences(tree)
        case .columns: Form.columns(tree)
        case .fileLength: Form.lengths(tree)
        case .documentation: Documentation.offences(tree)
        case .imports: Layers.offences(tree)
        case .unsafe: Confinement.unsafeCode(tree)
        case .systems: Confinement.systems(tree)
        case .headerFields: HeaderFields.offences(tree)
        case .leftovers: Form.leftovers(tree)
        case .words: Words.offences(tree)
        case .links: Links.offences(tree)
        case .testNames: TestNames.offences(tree)
        }
    }
}
