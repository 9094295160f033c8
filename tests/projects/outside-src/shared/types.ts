export type Language = 'en' | 'de';

export interface Letter {
  readonly to: string;
  readonly language: Language;
}
