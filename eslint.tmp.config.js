import tseslint from 'typescript-eslint';
export default tseslint.config(...tseslint.configs.strictTypeChecked, { languageOptions: { parserOptions: { project: ['services/tsconfig.json','test/tsconfig.json'], tsconfigRootDir: import.meta.dirname } } });
