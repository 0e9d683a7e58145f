// SPDX-License-Identifier: Apache-2.0
import tseslint from 'typescript-eslint';

const ABORT_SIGNAL = ['any', 'timeout'].map((property) => ({
  object: 'AbortSignal',
  property,
  message: 'Leaks on long-lived signals on Node 20: use withDeadline, which links and unlinks by hand.',
}));

export default tseslint.config(
  { ignores: ['**/dist/**', '**/gen/**', '**/node_modules/**', 'coverage/**'] },
  {
    files: ['**/*.ts'],
    extends: [tseslint.configs.strictTypeChecked, tseslint.configs.stylisticTypeChecked],
    languageOptions: { parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname } },
    linterOptions: { reportUnusedDisableDirectives: 'error', noInlineConfig: false },
    rules: {
      'no-restricted-properties': ['error', ...ABORT_SIGNAL],
      eqeqeq: 'error',
      '@typescript-eslint/switch-exhaustiveness-check': [
        'error',
        { considerDefaultExhaustiveForUnions: true, requireDefaultForNonUnion: true },
      ],
      '@typescript-eslint/consistent-type-imports': 'error',
      '@typescript-eslint/explicit-module-boundary-types': 'off',
      '@typescript-eslint/no-confusing-void-expression': 'error',
      // A number in a sentence prints as itself; anything else must be turned into text on purpose.
      '@typescript-eslint/restrict-template-expressions': ['error', { allowNumber: true }],
      // A promise that is not awaited on purpose is marked by `void`, and its failure is handled inside it.
      '@typescript-eslint/no-floating-promises': ['error', { ignoreVoid: true }],
    },
  },
);
