import { traced } from './traced';

export interface Dictionary {
  lookUp(word: string): Promise<string>;
}

export class TranslationActivities {
  constructor(private readonly dictionary: Dictionary) {
    this.translate = this.translate.bind(this);
  }

  @traced
  async translate(word: string): Promise<string> {
    return await this.dictionary.lookUp(word);
  }
}
