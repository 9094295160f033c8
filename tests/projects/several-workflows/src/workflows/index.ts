export * from './child';
export * from './parent';
export { total as count } from './total';
